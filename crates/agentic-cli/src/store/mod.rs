//! The factories of back ends: URLs in, every port out.

mod backends;
mod mask;
mod tenant;
mod url;

pub use backends::{BackendUrls, Backends};
pub(crate) use mask::without_password;
pub use url::{Opened, StoreOptions, StoreUrl};

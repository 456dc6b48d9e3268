//! `cargo xtask tidy`: the rules of the house that a program can check and no compiler does.

mod check;
mod documents;
mod edges;
mod manifests;
mod sources;
mod tree;

pub(crate) use check::run;
pub(crate) use documents::documents;

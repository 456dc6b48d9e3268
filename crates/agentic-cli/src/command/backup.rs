//! `agentic backup`.

use std::path::Path;

use agentic_store_sqlite::{SqliteOptions, SqliteStore};
use serde_json::json;

use crate::{
    failure::{Failure, Kind},
    session::Session,
    store::StoreUrl,
};

/// Copies the database while it is in use.
pub(crate) async fn backup(session: &Session, to: &Path) -> Result<(), Failure> {
    let urls = session.loaded.settings.backends()?;
    let from = match urls.store {
        StoreUrl::Sqlite(from) => from,
        StoreUrl::Memory => {
            return Err(Failure::usage("memory: is gone when its server ends; there is nothing to copy"));
        }
        StoreUrl::Http(url) => {
            return Err(Failure::usage(format!("{url} keeps the store, and copies it"))
                .hint("agentic backup on that machine copies it while it is in use"));
        }
        StoreUrl::Redis(_) => {
            return Err(Failure::usage("redis is copied by its own means")
                .hint("redis-cli --rdb FILE copies it while it is in use"));
        }
    };
    if !from.exists() {
        return Err(Failure::new(Kind::NotFound, format!("{} does not exist", from.display()))
            .hint("--store or --data-dir says where the database is"));
    }
    let store = SqliteStore::open(&from, SqliteOptions::new()).map_err(Failure::local)?;
    store.backup(to).await.map_err(Failure::local)?;
    for (what, url) in [("agents", urls.registry), ("allowances", urls.allowance)] {
        if let Some(url) = url {
            session.printer.note(&format!("note: {what} are kept in {url}, which was not copied"));
        }
    }
    if session.printer.is_json {
        return session.printer.json(&json!({ "from": from, "to": to }));
    }
    session.printer.line(&format!("{} is a copy of {}", to.display(), from.display()))
}

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
    let from = match session.loaded.settings.store_url().parse()? {
        StoreUrl::Sqlite(from) => from,
        StoreUrl::Memory => {
            return Err(Failure::usage("memory: is gone when its server ends; there is nothing to copy"));
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
    if session.printer.is_json {
        return session.printer.json(&json!({ "from": from, "to": to }));
    }
    session.printer.line(&format!("{} is a copy of {}", to.display(), from.display()))
}

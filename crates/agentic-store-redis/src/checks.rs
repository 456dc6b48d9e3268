//! What a server must be before a fleet is trusted to it.

use agentic_core::error::{Error, Result};
use fred::{
    clients::Client,
    interfaces::ClientLike,
    types::{ClusterHash, CustomCommand, Value},
    util::redis_keyslot,
};

use crate::{error::about, options::Safety};

/// The oldest server that the scripts run on.
const OLDEST: (u32, u32) = (6, 2);

/// Looks at the server on which the keys under `root` are; refuses it or warns of it.
///
/// # Errors
/// `Unsupported`, naming what to change; `Unavailable`.
pub(crate) async fn check(client: &Client, root: &str, safety: Safety) -> Result<()> {
    let info = ask(client, root, "INFO", &[]).await?.into_string().unwrap_or_default();
    let save = ask(client, root, "CONFIG", &["GET", "save"]).await.ok();
    let save = save.and_then(|answer| answer.into_array().pop()).and_then(Value::into_string);
    for wrong in faults(&info, save.as_deref()) {
        match safety {
            Safety::Refuse => return Err(Error::Unsupported { what: wrong }),
            Safety::Warn => tracing::warn!(fault = wrong, "the redis server is not safe for a fleet"),
        }
    }
    Ok(())
}

async fn ask(client: &Client, root: &str, command: &'static str, args: &[&str]) -> Result<Value> {
    let command =
        CustomCommand::new_static(command, ClusterHash::Custom(redis_keyslot(root.as_bytes())), false);
    let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
    client.custom(command, args).await.map_err(|error| about("the check of redis", error))
}

/// What is wrong with a server, by its `INFO` and, where it tells, its `save`.
fn faults(info: &str, save: Option<&str>) -> Vec<String> {
    let field =
        |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    let mut faults = Vec::new();
    let version = field("redis_version").unwrap_or("of unknown version");
    let mut parts = version.split('.').map_while(|part| part.parse::<u32>().ok());
    if (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) < OLDEST {
        faults.push(format!("redis {version}, older than 6.2,"));
    }
    if let Some(policy) = field("maxmemory_policy").filter(|policy| *policy != "noeviction") {
        faults.push(format!("maxmemory-policy {policy}, which evicts tasks (set it to noeviction),"));
    }
    if field("role") == Some("slave") {
        faults.push("a replica, which takes no writes (name its primary),".to_owned());
    }
    if field("aof_enabled") == Some("0") && save == Some("") {
        faults.push("redis without persistence (set appendonly yes)".to_owned());
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(version: &str, policy: &str, aof: u8, save: Option<&str>) -> usize {
        let info = format!(
            "# Server\r\nredis_version:{version}\r\nmaxmemory_policy:{policy}\r\naof_enabled:{aof}\r\n"
        );
        faults(&info, save).len()
    }

    #[test]
    fn a_server_is_new_keeps_and_writes_what_it_is_given() {
        assert_eq!(said("7.0.15", "noeviction", 1, Some("")), 0);
        assert_eq!(said("6.2.0", "noeviction", 0, Some("3600 1")), 0);
        assert_eq!(said("10.0.1", "noeviction", 0, None), 0, "a server that does not tell is not accused");
        assert_eq!(said("6.0.16", "noeviction", 1, None), 1);
        assert_eq!(said("7.2.4", "allkeys-lru", 1, None), 1);
        assert_eq!(said("7.2.4", "volatile-ttl", 0, Some("")), 2);
        let replica = "redis_version:7.0.15\r\nrole:slave\r\naof_enabled:1\r\n";
        assert!(faults(replica, None)[0].contains("primary"));
        assert_eq!(faults("", None).len(), 1, "what is no redis is too old");
    }
}

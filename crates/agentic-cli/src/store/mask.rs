//! URLs without what is secret in them.

use crate::config::MASK;

/// What the name of a parameter has in it whose value is secret, such as `sentinelPassword`.
const SECRET: [&str; 3] = ["password", "secret", "token"];

/// A URL whose passwords are masked: that of its user, and those among its parameters.
pub(crate) fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    // A password that should have been encoded can end the host early: better too much is masked than too little.
    let (user, tail) = match rest[..end].rfind('@').or_else(|| rest.rfind('@')) {
        Some(at) => (Some(&rest[..at]), &rest[at + 1..]),
        None => (None, rest),
    };
    let user = user.map(|user| format!("{}:{MASK}@", user.split(':').next().unwrap_or_default()));
    let tail = match tail.split_once('?') {
        Some((place, parameters)) => {
            let shown: Vec<String> = parameters.split('&').map(parameter).collect();
            format!("{place}?{}", shown.join("&"))
        }
        None => tail.to_owned(),
    };
    format!("{scheme}://{}{tail}", user.unwrap_or_default())
}

fn parameter(text: &str) -> String {
    match text.split_once('=') {
        Some((name, _)) if SECRET.iter().any(|secret| name.to_lowercase().contains(secret)) => {
            format!("{name}={MASK}")
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        for (url, shown) in [
            ("redis://ada:secret@h:1/0", format!("redis://ada:{MASK}@h:1/0")),
            ("redis://:se@cret@h:1", format!("redis://:{MASK}@h:1")),
            ("redis://:se/cret@h:1/0", format!("redis://:{MASK}@h:1/0")),
            ("redis://:se?cret@h:1", format!("redis://:{MASK}@h:1")),
            (
                "redis-sentinel://u:secret@h:1/0?node=i:2&sentinelPassword=se=cret&sentinelUsername=bob",
                format!(
                    "redis-sentinel://u:{MASK}@h:1/0?node=i:2&sentinelPassword={MASK}&sentinelUsername=bob"
                ),
            ),
            ("redis://h:1?sentinelpassword=secret", format!("redis://h:1?sentinelpassword={MASK}")),
            ("redis-cluster://h:1?node=i:2", "redis-cluster://h:1?node=i:2".to_owned()),
            ("redis://h:1", "redis://h:1".to_owned()),
            ("sqlite:/a@b", "sqlite:/a@b".to_owned()),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }
}

//! Limits, as scripts count under them.

use agentic_core::{
    amount::Amount,
    clock::Timestamp,
    error::Result,
    limit::{Limit, MeterKey, Window},
};

use crate::{error::unreadable, reply::named};

/// Scope, meter, window; the length of a bucket in milliseconds, and from which to which distance to the present one they
/// are summed; the cap as text; where the first bucket begins, in milliseconds since 1970.
pub(crate) type StoredLimit = (String, String, String, i64, i64, i64, Option<String>, i64);

/// A limit for a script.
fn stored_limit(limit: &Limit) -> StoredLimit {
    let MeterKey { scope, meter, window } = &limit.key;
    let present = window.bucket(Timestamp::EPOCH);
    let (from, to) = if *window == Window::Live { (1, 0) } else { window.span(Timestamp::EPOCH) };
    let (from, to) = (from - present, to - present);
    let (step, origin) = window.grid().unwrap_or_default();
    let cap = limit.cap.map(|cap| cap.to_string());
    (scope.to_string(), meter.as_str().to_owned(), window.to_string(), step, from, to, cap, origin)
}

/// Limits for a script.
pub(crate) fn stored_limits<'a>(limits: impl IntoIterator<Item = &'a Limit>) -> Vec<StoredLimit> {
    limits.into_iter().map(stored_limit).collect()
}

/// The limit that a script counted under.
pub(crate) fn limit(stored: &StoredLimit) -> Result<Limit> {
    let (scope, meter, window, _, _, _, cap, _) = stored;
    let cap: Option<Amount> = cap.as_deref().map(|cap| cap.parse().map_err(unreadable)).transpose()?;
    Ok(Limit { key: MeterKey { scope: scope.parse()?, meter: named(meter)?, window: window.parse()? }, cap })
}

/// The meter and the bucket that a field of the meters names: scope, meter, window and bucket.
pub(crate) fn limit_field(field: &str) -> Result<(MeterKey, i64)> {
    let missing = || crate::reply::misshapen("a meter has no name");
    let mut parts = field.rsplitn(4, ' ');
    let bucket = parts.next().ok_or_else(missing)?.parse().map_err(unreadable)?;
    let window = parts.next().ok_or_else(missing)?.parse()?;
    let meter = named(parts.next().ok_or_else(missing)?)?;
    let scope = parts.next().ok_or_else(missing)?.parse()?;
    Ok((MeterKey { scope, meter, window }, bucket))
}

#[cfg(test)]
mod tests {
    use agentic_core::limit::{Meter, Scope};

    use super::*;

    #[test]
    fn a_limit_reads_what_it_writes_and_its_buckets_are_cores() {
        let now = Timestamp::from_millis(1_772_366_400_123);
        let scope: Scope = "agent:a model:v/m".parse().unwrap();
        let anchored = Window::anchored(18_000, Timestamp::from_millis(1_772_000_000_987));
        for window in
            [Window::Day, Window::HOUR, Window::Sliding(60), anchored, Window::Lifetime, Window::Live]
        {
            let original = Limit::new(scope.clone(), Meter::Tokens, window, Some(Amount::MAX));
            let stored = stored_limit(&original);
            assert_eq!(limit(&stored).unwrap(), original);
            let present = if stored.3 == 0 { 0 } else { (now.millis() - stored.7).div_euclid(stored.3) };
            assert_eq!(present, window.bucket(now), "{window}");
            if window != Window::Live {
                assert_eq!((present + stored.4, present + stored.5), window.span(now), "{window}");
            }
            let field = format!("{} {present}", original.key);
            assert_eq!(limit_field(&field).unwrap(), (original.key, present));
        }
    }
}

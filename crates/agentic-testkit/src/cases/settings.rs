//! Small values that a fleet shares.

use crate::{Fixture, fixture::at_once};

/// A value is read as it was put last, and gone when it is removed.
pub async fn a_setting_is_put_and_removed(fx: &Fixture) {
    let get = |key: &'static str| async move { fx.settings.get(key).await.unwrap() };
    assert_eq!(get("paused").await, None);
    fx.settings.put("paused", Some("true".to_owned())).await.unwrap();
    fx.settings.put("other", Some(String::new())).await.unwrap();
    assert_eq!((get("paused").await.as_deref(), get("other").await.as_deref()), (Some("true"), Some("")));
    fx.settings.put("paused", Some("{\"a\": \"é\u{1b}\"}".to_owned())).await.unwrap();
    assert_eq!(get("paused").await.as_deref(), Some("{\"a\": \"é\u{1b}\"}"));
    for _ in 0..2 {
        fx.settings.put("paused", None).await.unwrap();
        assert_eq!(get("paused").await, None);
    }
    assert!(get("other").await.is_some());
}

/// Of sixteen values put at once, one stands, whole.
pub async fn a_setting_raced_for_is_one_of_them(fx: &Fixture) {
    at_once(16, |i| {
        let settings = fx.settings.clone();
        async move { settings.put("k", Some(i.to_string().repeat(50))).await.unwrap() }
    })
    .await;
    let value = fx.settings.get("k").await.unwrap().unwrap();
    assert!((0..16).any(|i: usize| i.to_string().repeat(50) == value), "{value}");
}

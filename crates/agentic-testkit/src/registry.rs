//! The one list of all cases, and the tests made of it.

/// Hands the list of all cases, by topic, to the macro `$then`, after `$args`.
#[doc(hidden)]
#[macro_export]
macro_rules! registry {
    ($then:path, $args:tt) => {
        $then! {
            $args
            create {
                create_is_all_or_nothing,
                create_by_key_is_once,
            }
            claim {
                claim_has_one_winner,
            }
        }
    };
}

/// Makes one test of every case, in one module a topic.
///
/// `$fixture` names an `async fn() -> Fixture` in scope; every test builds its own. The crate that uses the macro
/// needs `tokio` with `macros` and `rt-multi-thread` among its own (development) dependencies.
#[macro_export]
macro_rules! conformance {
    ($fixture:ident) => {
        $crate::registry! { $crate::conformance_tests, ($fixture) }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! conformance_tests {
    (($fixture:ident) $($topic:ident { $($case:ident,)* })*) => {
        $(
            mod $topic {
                $(
                    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                    async fn $case() {
                        let fx = super::$fixture().await;
                        $crate::cases::$topic::$case(&fx).await;
                        fx.check().await;
                    }
                )*
            }
        )*
    };
}

macro_rules! names {
    (() $($topic:ident { $($case:ident,)* })*) => {
        /// The names of all cases, by topic.
        pub const CASES: &[(&str, &[&str])] = &[$((stringify!($topic), &[$(stringify!($case)),*])),*];
    };
}

registry! { names, () }

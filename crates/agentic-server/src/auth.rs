//! Who may do what: one table, role × route.
//!
//! A request shows its token in a header that no web page can make a browser send for it, so neither another site nor
//! a rebound name reaches a route behind a token; the open routes tell nothing. `Host` and `Origin` are not looked at.

use agentic_dispatch::Caller;
use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, Method, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::{app::App, problem::Failure};

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Everything.
    Admin,
}

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Everybody, without a token.
    Open,
    /// Whoever has one of these roles.
    Roles(&'static [Role]),
}

const ADMIN: Gate = Gate::Roles(&[Role::Admin]);

/// The table. A route that it does not name is for admins.
pub(crate) const ROUTES: &[(Method, &str, Gate)] = &[
    (Method::GET, "/api/tasks", ADMIN),
    (Method::POST, "/api/tasks", ADMIN),
    (Method::GET, "/api/tasks/{id}", ADMIN),
    (Method::PATCH, "/api/tasks/{id}", ADMIN),
    (Method::POST, "/api/tasks/{id}/claim", ADMIN),
    (Method::POST, "/api/tasks/{id}/complete", ADMIN),
    (Method::POST, "/api/tasks/{id}/release", ADMIN),
    (Method::POST, "/api/tasks/{id}/cancel", ADMIN),
    (Method::POST, "/api/tasks/{id}/requeue", ADMIN),
    (Method::GET, "/api/tasks/{id}/history", ADMIN),
    (Method::GET, "/api/tasks/{id}/explain", ADMIN),
    (Method::GET, "/api/agents", ADMIN),
    (Method::POST, "/api/agents", ADMIN),
    (Method::GET, "/api/agents/{id}", ADMIN),
    (Method::DELETE, "/api/agents/{id}", ADMIN),
    (Method::POST, "/api/agents/{id}/heartbeat", ADMIN),
    (Method::POST, "/api/agents/{id}/drain", ADMIN),
    (Method::POST, "/api/agents/{id}/resume", ADMIN),
    (Method::GET, "/api/agents/{id}/assignments", ADMIN),
    (Method::GET, "/api/allowances", ADMIN),
    (Method::GET, "/api/allowances/{agent}", ADMIN),
    (Method::PUT, "/api/allowances/{agent}", ADMIN),
    (Method::DELETE, "/api/allowances/{agent}", ADMIN),
    (Method::POST, "/api/allowances/{agent}/reset", ADMIN),
    (Method::POST, "/api/usage", ADMIN),
    (Method::GET, "/api/usage/{agent}", ADMIN),
    (Method::GET, "/api/models", ADMIN),
    (Method::GET, "/api/models/{*model}", ADMIN),
    (Method::PUT, "/api/models/{*model}", ADMIN),
    (Method::DELETE, "/api/models/{*model}", ADMIN),
    (Method::GET, "/api/ledger", ADMIN),
    (Method::GET, "/api/ledger/verify", ADMIN),
    (Method::GET, "/api/ledger/{agent}", ADMIN),
    (Method::GET, "/api/budgets", ADMIN),
    (Method::GET, "/api/budgets/{*scope}", ADMIN),
    (Method::PUT, "/api/budgets/{*scope}", ADMIN),
    (Method::DELETE, "/api/budgets/{*scope}", ADMIN),
    (Method::GET, "/api/lanes", ADMIN),
    (Method::GET, "/api/lanes/explain", ADMIN),
    (Method::GET, "/api/status", ADMIN),
    (Method::GET, "/api/events", ADMIN),
    (Method::POST, "/internal/v1/call", ADMIN),
    (Method::GET, "/v1/health", Gate::Open),
    (Method::GET, "/livez", Gate::Open),
    (Method::GET, "/readyz", Gate::Open),
];

/// The SHA-256 of a token; the token itself is not kept.
#[derive(Clone, Copy)]
pub(crate) struct Digest([u8; 32]);

impl Digest {
    pub(crate) fn of(token: &str) -> Self {
        Self(Sha256::digest(token).into())
    }

    /// Whether both are of the same token; takes the same time either way.
    fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// Lets a request through to its handler, with its [`Caller`], if the table says so.
pub(crate) async fn gate(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let gate = match request.extensions().get::<MatchedPath>() {
        Some(path) => gate_of(request.method(), path.as_str()),
        None => Gate::Open, // Nothing is there but the answer that nothing is there.
    };
    if let Gate::Roles(roles) = gate {
        match role(&app, request.headers()) {
            Ok(role) if roles.contains(&role) => {
                request.extensions_mut().insert(Caller::Operator);
            }
            Ok(_) => return Failure::forbidden().into_response(),
            Err(failure) => return failure.into_response(),
        }
    }
    next.run(request).await
}

fn gate_of(method: &Method, path: &str) -> Gate {
    let method = if method == Method::HEAD { &Method::GET } else { method };
    let row = ROUTES.iter().find(|(verb, route, _)| verb == method && *route == path);
    row.map_or(ADMIN, |(_, _, gate)| *gate)
}

/// The role of the token that a request shows.
fn role(app: &App, headers: &HeaderMap) -> Result<Role, Failure> {
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some((scheme, token)) = shown.and_then(|value| value.split_once(' ')) else {
        let detail = "show a token: Authorization: Bearer TOKEN";
        return Err(Failure::unauthorized(detail, r#"Bearer realm="agentic""#));
    };
    if scheme.eq_ignore_ascii_case("bearer") && app.admin.is(&Digest::of(token.trim())) {
        return Ok(Role::Admin);
    }
    let challenge = r#"Bearer realm="agentic", error="invalid_token""#;
    Err(Failure::unauthorized("the server does not know this token", challenge))
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use agentic_core::{clock::SystemClock, memory::Memory};
    use agentic_dispatch::{Fleet, Policy};
    use axum::{body::Body, extract::Request};
    use http_body_util::BodyExt as _;
    use hyper::service::Service as _;
    use hyper_util::service::TowerToHyperService;
    use serde_json::Value;
    use tokio_util::sync::CancellationToken;

    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    /// The status and the JSON that a route answers with; a stream of events has no end, and is not read.
    async fn answer(method: &Method, route: &str, token: Option<&str>) -> (u16, Value) {
        let fleet = Fleet::new(Memory::new().ports(), Arc::new(SystemClock), Policy::default()).unwrap();
        let (timeout, stop) = (Duration::from_secs(9), CancellationToken::new());
        let app = App { fleet, admin: Digest::of(TOKEN), timeout, max_skew: None, stop };
        let path = route
            .replace("{id}", "x")
            .replace("{agent}", "x")
            .replace("{*model}", "a/b")
            .replace("{*scope}", "project:a/b");
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let service = TowerToHyperService::new(crate::router::router(app));
        let response = service.call(request.body(Body::empty()).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        if route == "/api/events" && status == 200 {
            return (status, Value::Null);
        }
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    #[tokio::test]
    async fn only_the_open_routes_need_no_token() {
        for (method, route, _) in ROUTES {
            let open = ["/v1/health", "/livez", "/readyz"].contains(route);
            for shown in [None, Some("fedcba9876543210"), Some("")] {
                let (status, json) = answer(method, route, shown).await;
                let refused = status == 401 && json["code"] == "unauthorized";
                assert_eq!(refused, !open, "{method} {route} {shown:?}: {status}");
            }
        }
    }

    #[tokio::test]
    async fn the_table_names_exactly_what_is_served() {
        let verbs = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
        for (_, route, _) in ROUTES {
            for verb in &verbs {
                let (status, json) = answer(verb, route, Some(TOKEN)).await;
                let in_table = ROUTES.iter().any(|(method, path, _)| method == verb && path == route);
                assert_eq!(status != 405, in_table, "{verb} {route}: {status}");
                assert!(![401, 403].contains(&status) && json["kind"] != "route", "{verb} {route}: {status}");
            }
        }
        let source = include_str!("router.rs");
        let served = source.split('"').filter(|text| text.starts_with('/') && !text.contains('\n'));
        for route in served {
            assert!(ROUTES.iter().any(|(_, path, _)| *path == route), "{route} is not in the table");
        }
    }

    #[test]
    fn what_the_table_does_not_name_is_for_admins() {
        assert_eq!(gate_of(&Method::GET, "/new"), ADMIN);
        assert_eq!(gate_of(&Method::OPTIONS, "/livez"), ADMIN);
        assert_eq!(gate_of(&Method::HEAD, "/livez"), Gate::Open);
    }
}

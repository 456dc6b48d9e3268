//! `agentic serve`.

use serde_json::json;

use crate::{
    failure::{Failure, Kind},
    output::amount_or_unlimited,
    server::Listening,
    session::Session,
    signals::Stop,
    store::BackendUrls,
};

/// Runs a server until it is told to end.
pub(crate) async fn serve(session: &Session) -> Result<(), Failure> {
    let stop = Stop::on_signals()?;
    let listening = Listening::new(&session.loaded).await?;
    announce(session, &listening)?;
    tokio::select! {
        () = listening.run(stop.gently) => Ok(()),
        () = stop.now.cancelled() => Err(Failure::failed("ended at once, as it was told twice")),
    }
}

/// Says where the server listens and what it goes by; programs get it on standard output.
pub(super) fn announce(session: &Session, listening: &Listening) -> Result<(), Failure> {
    let base_url = listening.base_url();
    let settings = &session.loaded.settings;
    let BackendUrls { store, registry, allowance } = &listening.urls;
    let (registry, allowance) = (registry.as_ref().unwrap_or(store), allowance.as_ref().unwrap_or(store));
    if session.printer.is_json {
        let announced = json!({
            "base_url": base_url,
            "listen": listening.address,
            "store": store.to_string(),
            "registry": registry.to_string(),
            "allowance": allowance.to_string(),
            "data_dir": settings.data_dir,
        });
        return match session.printer.json_line(&announced) {
            // A server goes on when nobody reads what it says.
            Err(failure) if failure.kind == Kind::Closed => Ok(()),
            printed => printed,
        };
    }
    let say = |text: String| session.printer.note(&text);
    say(format!("listening on {base_url}"));
    let token = settings.data_dir.join("token");
    say(format!("everything is kept in {store}, the admin token in {}", token.display()));
    if (registry, allowance) != (store, store) {
        say(format!("but agents in {registry}, and allowances in {allowance}"));
    }
    match &settings.default_allowance {
        Some(allowance) => say(format!(
            "an agent without an allowance of its own may use {} tokens and {} jobs a day, {} at once; \
             `default_allowance` changes that",
            amount_or_unlimited(allowance.daily_token_limit),
            amount_or_unlimited(allowance.daily_job_limit),
            amount_or_unlimited(allowance.concurrent_jobs)
        )),
        None => {
            say(
                "an agent without an allowance of its own gets no work; `agentic allowance set` gives it one"
                    .into(),
            );
        }
    }
    if !listening.address.ip().is_loopback() {
        say("others can reach this server without TLS: they can read tokens and tasks".into());
    }
    Ok(())
}

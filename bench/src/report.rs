//! What was measured, and how it is told.

use std::fmt;

use serde::Serialize;

/// Everything that was measured.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// What the machine can do by itself.
    limits: Vec<Limit>,
    /// What agentic does.
    figures: Vec<Figure>,
}

/// What the machine can do by itself.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Limit {
    name: String,
    value: f64,
    unit: &'static str,
}

/// One measurement.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    /// What it should be.
    target: Option<Target>,
    /// Whether it is.
    met: Option<bool>,
    /// The machine's limit that it is held against.
    limit: Option<String>,
    /// The measurement divided by that limit.
    of_limit: Option<f64>,
}

/// What a measurement should be.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
}

impl Report {
    /// Notes what the machine can do.
    pub(crate) fn limit(&mut self, name: &str, value: f64, unit: &'static str) {
        eprintln!("  {name}: {} {unit}", number(value));
        self.limits.push(Limit { name: name.to_owned(), value, unit });
    }

    /// Notes a measurement, held against the machine's limit of that name, if it was measured.
    pub(crate) fn figure(
        &mut self,
        name: String,
        value: f64,
        unit: &'static str,
        target: Option<Target>,
        limit: Option<&str>,
    ) {
        eprintln!("  {name}: {} {unit}", number(value));
        let against = self.limits.iter().find(|known| Some(known.name.as_str()) == limit);
        let of_limit = against.map(|limit| value / limit.value);
        let met = target.map(|target| match target {
            Target::AtLeast(least) => value >= least,
            Target::AtMost(most) => value <= most,
        });
        let limit = limit.map(str::to_owned);
        self.figures.push(Figure { name, value, unit, target, met, limit, of_limit });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "The machine's limits")?;
        for Limit { name, value, unit } in &self.limits {
            writeln!(f, "  {name:54} {:>12} {unit}", number(*value))?;
        }
        writeln!(
            f,
            "\n{:56} {:>12} {:8} {:>14}  {:12} of the machine's limit",
            "agentic", "", "", "target", ""
        )?;
        for figure in &self.figures {
            let target = match figure.target {
                Some(Target::AtLeast(least)) => format!("≥ {}", number(least)),
                Some(Target::AtMost(most)) => format!("≤ {}", number(most)),
                None => String::new(),
            };
            let verdict = match (figure.met, figure.target) {
                (Some(true), _) => "met".to_owned(),
                (Some(false), Some(Target::AtLeast(wanted) | Target::AtMost(wanted))) => {
                    format!("missed ×{:.2}", figure.value / wanted)
                }
                _ => String::new(),
            };
            let of_limit = match (figure.of_limit, &figure.limit) {
                (Some(ratio), Some(limit)) => format!("{} × {limit}", number(ratio)),
                _ => String::new(),
            };
            let Figure { name, unit, .. } = figure;
            let line = format!(
                "  {name:54} {:>12} {unit:8} {target:>14}  {verdict:12} {of_limit}",
                number(figure.value)
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Three significant digits for what is small, whole numbers for what is large.
fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missed_targets_are_told() {
        let mut report = Report::default();
        report.limit("disk", 100.0, "/s");
        report.figure("slow".to_owned(), 50.0, "/s", Some(Target::AtLeast(200.0)), Some("disk"));
        report.figure("fast".to_owned(), 0.5, "ms", Some(Target::AtMost(0.7)), None);
        let text = report.to_string();
        assert!(text.contains("missed ×0.25"), "{text}");
        assert!(text.contains("0.5000 × disk"), "{text}");
        assert!(text.lines().any(|line| line.contains("fast") && line.contains(" met")), "{text}");
    }
}

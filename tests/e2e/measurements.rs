//! The alerts and the dashboard in `deploy/` ask for metrics that the processes have.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};
use testkit::app::within;
use testkit::stack::{RECOVERY, Stack, StackOptions};

#[tokio::test(flavor = "multi_thread")]
async fn p7_every_metric_that_an_alert_or_the_dashboard_asks_for_is_measured() {
    let asked = asked_for();
    assert!(asked.len() > 15, "{asked:?}");
    let mut stack =
        Stack::start(StackOptions { settings: &[("RATE_LIMITS", "on")], ..Default::default() }).await;
    // What happens in a day: somebody's page is visited, passwords are guessed, Redis goes away.
    let ada = stack.member("ada").await;
    stack.verify_in(&ada, "ada").await;
    let link = json!({ "title": "My garden", "url": "https://garden.example" });
    let link = ada.post("/api/links/", link).await.expect(201).json();
    let link = format!("/l/{}", link["id"].as_str().unwrap());
    stack.client(0).get(&link).await.expect(302);
    let guess = json!({ "identifier": "ada", "password": "not-this-one" });
    let stranger = stack.client(0);
    within(RECOVERY, "a limit turns the guesser away", async || {
        match stranger.post("/api/login/", guess.clone()).await.status {
            429 => Ok(()),
            status => Err(status.to_string()),
        }
    })
    .await;
    within(RECOVERY, "the click is counted", async || {
        let counted = measured(&stack).await.contains("trellis_clicks_counted_total");
        if counted { Ok(()) } else { Err("it is not".to_owned()) }
    })
    .await;
    stack.redis.stop().await.unwrap();
    stranger.post("/api/login/", guess.clone()).await;

    within(RECOVERY, "every metric is measured", async || {
        let measured = measured(&stack).await;
        let missing: Vec<&String> = asked.difference(&measured).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?}")) }
    })
    .await;
}

#[test]
fn names_are_found_in_expressions() {
    let expression = r#"histogram_quantile(0.9, sum by (le, a_label) (rate(one_bucket{other_label=~"a_b"}[5m]))) / two_total"#;
    assert_eq!(metrics_in(expression), ["one_bucket", "two_total"].map(str::to_owned).into());
}

/// What the alerts and the dashboard ask for.
fn asked_for() -> BTreeSet<String> {
    let read = |path: &str| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        std::fs::read_to_string(root.join(path)).unwrap()
    };
    let alerts = read("deploy/alerts/trellis.yaml");
    let alerts = alerts.lines().filter_map(|line| line.trim().strip_prefix("expr: "));
    let dashboard: Value = serde_json::from_str(&read("deploy/grafana/trellis.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let panels = panels.flat_map(|panel| panel["targets"].as_array().unwrap());
    let panels = panels.map(|target| target["expr"].as_str().unwrap());
    alerts.chain(panels).flat_map(metrics_in).collect()
}

/// The names in an expression that are no function and no label. Each of ours has an underscore; `up`, which Prometheus
/// itself measures, has none.
fn metrics_in(expression: &str) -> BTreeSet<String> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let mut bare = expression.to_owned();
    for (open, close) in [("{", '}'), ("[", ']'), (" by (", ')')] {
        while let Some(begin) = bare.find(open) {
            let length = bare[begin..].find(close).unwrap();
            bare.replace_range(begin..=begin + length, " ");
        }
    }
    let words = bare.split_inclusive(|letter| !is_part(letter));
    let names = words.filter(|word| word.contains('_') && !word.ends_with('('));
    names.map(|name| name.trim_end_matches(|letter| !is_part(letter)).to_owned()).collect()
}

/// The names of all that the processes have measured.
async fn measured(stack: &Stack) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for process in stack.processes() {
        let metrics = process.metrics().await;
        let lines = metrics.lines().filter(|line| !line.starts_with('#'));
        names.extend(lines.filter_map(|line| line.split(['{', ' ']).next()).map(str::to_owned));
    }
    names
}

//! What the documents say, against what the code does.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The root of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The settings that the code reads: `settings.or("NAME", ..)` and the like, in the non-test part of each config file. Those
/// of an identity provider have its name in them; the example is of one named acme.
fn settings_in_code() -> BTreeSet<String> {
    let files = [
        "crates/api/src/config.rs",
        "crates/api/src/config/oidc.rs",
        "crates/domain/src/config.rs",
        "crates/domain/src/config/keys.rs",
        "crates/domain/src/config/lifetimes.rs",
        "crates/domain/src/config/limits.rs",
        "crates/worker/src/config.rs",
        "crates/worker/src/mailer/config.rs",
    ];
    let is_name = |word: &str| {
        word.len() > 3
            && word.contains('_')
            && word.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    };
    let mut names: BTreeSet<String> = ["REGISTRATION".to_owned()].into();
    for file in files {
        let text = read(file);
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let words = code.split('"').skip(1).step_by(2).map(|word| word.replace("{name}", "ACME"));
        names.extend(words.filter(|word| is_name(word)));
    }
    names
}

fn settings_in_example() -> BTreeSet<String> {
    let example = read(".env.example");
    let lines = example.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once('=')).map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn env_example_has_every_setting_and_no_other() {
    let mut documented = settings_in_example();
    assert!(documented.remove("RUST_LOG"), "tracing reads RUST_LOG by itself");
    assert_eq!(documented, settings_in_code());
}

/// The files in `deploy/` that start processes give them settings that there are.
#[test]
fn every_setting_of_the_deployment_files_exists() {
    let files = [
        "deploy/Dockerfile",
        "deploy/compose.yaml",
        "deploy/compose.try.yaml",
        "deploy/kubernetes/base/api.yaml",
        "deploy/kubernetes/base/pods.yaml",
        "deploy/kubernetes/base/worker.yaml",
        "deploy/kubernetes/example/kustomization.yaml",
        "deploy/systemd/trellis-api.service",
        "deploy/systemd/trellis-worker.service",
    ];
    // What other programs read there, and compose.yaml from its own file.
    let foreign = [
        "AF_",
        "API_1",
        "API_2",
        "API_3",
        "HTTPS_",
        "HTTP_BIND",
        "HTTP_PORT",
        "MP_",
        "POSTGRES_",
        "REDISCLI_",
        "REDIS_PASSWORD",
        "RUST_VERSION",
        "TLS_CERTIFICATE",
        "TRELLIS_VERSION",
    ];
    let known = settings_in_code();
    let mut found = BTreeSet::new();
    for file in files {
        let text = read(file);
        let code = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        let words = code
            .flat_map(|line| line.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_')));
        let names = words.map(|word| word.strip_suffix("_FILE").unwrap_or(word));
        for name in
            names.filter(|name| name.contains('_') && !name.contains(|letter: char| letter.is_lowercase()))
        {
            let is_foreign = foreign.iter().any(|known| name.starts_with(known));
            assert!(is_foreign || known.contains(name), "{file}: there is no setting {name}");
            found.insert(name.to_owned());
        }
    }
    for needed in ["PUBLIC_URL", "DATABASE_URL", "REDIS_URL", "SECRET_KEY", "SMTP_URL", "MAIL_FROM"] {
        assert!(found.contains(needed), "{needed} is set nowhere");
    }
}

/// The tests that `deploy/SECURITY.md` names, and the commands, are there.
#[test]
fn every_threat_names_tests_that_exist() {
    let document = read("deploy/SECURITY.md");
    let rows: Vec<&str> = document.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() > 25, "{} rows", rows.len());
    for row in rows {
        let shown_by: Vec<&str> =
            row.trim_end_matches(" |").rsplit(" | ").next().unwrap().split('`').collect();
        let named: Vec<&str> = shown_by.into_iter().skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "nothing shows it: {row}");
        for name in named {
            let exists = if let Some((file, test)) = name.split_once("::") {
                read(file).contains(&format!("fn {test}("))
            } else {
                let attack = name.strip_prefix("make security T=");
                attack.is_some_and(|attack| read("deploy/dev/security").contains(&format!("\n{attack}() {{")))
            };
            assert!(exists, "{name}: {row}");
        }
    }
}

/// Whoever is woken by an alert finds what to do under its name.
#[test]
fn every_alert_has_its_part_of_the_runbook_and_no_part_is_left_over() {
    let alerts = read("deploy/alerts/trellis.yaml");
    let alerts: Vec<&str> = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let runbook = read("deploy/RUNBOOK.md");
    let parts: Vec<&str> = runbook.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert!(alerts.len() > 7, "{alerts:?}");
    assert_eq!(parts, alerts);
}

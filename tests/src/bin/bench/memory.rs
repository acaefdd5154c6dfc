//! Idle memory of the real processes.

use std::time::Duration;

use testkit::config::{TestSettings, binaries};
use testkit::database::TestDatabase;
use tokio::process::{Child, Command};

pub(super) async fn run() {
    let database = TestDatabase::create().await;
    let mut settings = TestSettings::new(&database.url());
    settings.set("LOG_FORMAT", "json");
    println!("Idle memory, resident, 10 s after the start");
    for (name, arguments) in [("api", ["serve"]), ("worker", ["run"])] {
        let mut process = start(name, &arguments, &settings);
        tokio::time::sleep(Duration::from_secs(10)).await;
        println!("  {name:<7} {:>6.1} MB", resident_megabytes(process.id().expect("it runs")).await);
        process.kill().await.unwrap();
    }
}

fn start(name: &str, arguments: &[&str], settings: &TestSettings) -> Child {
    Command::new(binaries().join(name))
        .args(arguments)
        .env_clear()
        .envs(settings.environment())
        .kill_on_drop(true)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap()
}

pub(super) async fn resident_megabytes(pid: u32) -> f64 {
    let status = format!("/proc/{pid}/status");
    let text = tokio::fs::read_to_string(status).await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux tells");
    line.trim().trim_end_matches(" kB").trim().parse::<f64>().unwrap() / 1_000.0
}

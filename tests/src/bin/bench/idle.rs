//! What thousands of connections that say nothing cost those that do: a real api, with and without them, in turn.

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use testkit::stack::{Stack, StackOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::median;
use super::memory::resident_megabytes;
use super::stats::load;

/// Connections that ask all the time.
const ACTIVE: usize = 200;

/// Connections that are opened at once.
const AT_ONCE: usize = 100;

pub(super) async fn run(idle: usize, rounds: usize, round: Duration) {
    let stack = Stack::start(StackOptions { workers: 0, ..StackOptions::default() }).await;
    let ada = stack.member("ada").await;
    let cookie = format!("Cookie: access_token={}", ada.cookie("access_token").unwrap().value);
    let api = &stack.apis[0];
    let url = format!("{}/api/referral-stats/", api.base());
    let address = url.trim_start_matches("http://").split('/').next().unwrap().to_owned();
    let pid = api.id();

    load(&url, &cookie, ACTIVE, Duration::from_secs(1)).await;
    let (mut alone, mut beside, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let (mut memory, mut let_go) = ((0.0, 0.0), Vec::new());
    for _ in 0..rounds {
        let before = load(&url, &cookie, ACTIVE, round).await.p99;
        let (files, resident) = (open_files(pid), resident_megabytes(pid).await);
        let held: Vec<TcpStream> =
            stream::iter(0..idle).map(|_| open(&address)).buffer_unordered(AT_ONCE).collect().await;
        let with = load(&url, &cookie, ACTIVE, round).await.p99;
        assert!(open_files(pid) >= idle, "they are all held");
        memory = (resident, resident_megabytes(pid).await);
        drop(held);
        let began = Instant::now();
        while open_files(pid) > files + ACTIVE {
            assert!(began.elapsed() < Duration::from_secs(60), "connections that are gone are still held");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let_go.push(began.elapsed().as_secs_f64());
        alone.push(before);
        beside.push(with);
        ratios.push(with / before);
    }
    println!("{ACTIVE} connections that ask, beside {idle} that do not, {rounds} rounds of {round:?}");
    println!("  p99 without them       {:>7.1} ms", median(&mut alone));
    println!("  p99 beside them        {:>7.1} ms", median(&mut beside));
    println!("  ratio                  {:>7.2}", median(&mut ratios));
    println!("  memory without, with   {:>7.1} MB, {:.1} MB", memory.0, memory.1);
    println!("  let go of within       {:>7.2} s", median(&mut let_go));
}

/// A connection that has asked once, and is kept.
async fn open(address: &str) -> TcpStream {
    let mut stream =
        TcpStream::connect(address).await.expect("the limit of open files allows for all of them");
    stream.write_all(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let read = stream.read(&mut [0; 4_096]).await.unwrap();
    assert!(read > 0, "it is answered and kept");
    stream
}

fn open_files(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;
use tokio::time::advance;

use super::*;

type Pages = Nearby<String, Arc<String>>;

fn pages() -> Pages {
    Nearby::new("test", 1_000_000, |key, value| key.len() + value.len())
}

fn text(text: &str) -> Arc<String> {
    Arc::new(text.to_owned())
}

async fn ask(pages: &Pages, key: &str, now: &str) -> Result<String, Code> {
    let value = text(now);
    let answer = pages.get_or_load(key.to_owned(), |_| async { Ok(value) }).await;
    answer.map(|value| value.to_string()).map_err(|problem| problem.code())
}

async fn ask_in_vain(pages: &Pages, key: &str) -> Result<String, Code> {
    let answer = pages.get_or_load(key.to_owned(), |_| async { Err(Problem::new(Code::Unavailable)) }).await;
    answer.map(|value| value.to_string()).map_err(|problem| problem.code())
}

#[tokio::test(start_paused = true)]
async fn c2_a_copy_is_believed_less_than_a_second_from_before_its_load() {
    let pages = pages();
    assert_eq!(ask(&pages, "ada", "old").await.unwrap(), "old");
    advance(BELIEVED / 2).await;
    assert_eq!(ask(&pages, "ada", "new").await.unwrap(), "old");
    advance(BELIEVED / 2).await;
    assert_eq!(pages.get("ada"), None);
    assert_eq!(ask(&pages, "ada", "new").await.unwrap(), "new");
    assert!(BELIEVED + Duration::from_millis(100) < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn c3_a_load_that_took_long_is_as_old_as_its_beginning_and_never_replaces_a_later_one() {
    let pages = pages();
    let gate = Arc::new(Notify::new());
    let slow = {
        let (pages, gate) = (pages.clone(), Arc::clone(&gate));
        tokio::spawn(async move {
            let load = |_| async move {
                gate.notified().await;
                Ok(text("old"))
            };
            pages.get_or_load("ada".to_owned(), load).await.unwrap().to_string()
        })
    };
    tokio::task::yield_now().await;
    advance(BELIEVED).await;
    assert_eq!(ask(&pages, "ada", "new").await.unwrap(), "new", "joined a load that began too early");
    gate.notify_one();
    assert_eq!(slow.await.unwrap(), "old");
    assert_eq!(pages.get("ada"), Some(text("new")));
}

#[tokio::test(start_paused = true)]
async fn c4_of_all_who_miss_a_key_one_loads_and_a_client_that_hangs_up_fails_nobody() {
    let pages = pages();
    let (loads, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let asking = |key: &'static str| {
        let (pages, loads, gate) = (pages.clone(), Arc::clone(&loads), Arc::clone(&gate));
        tokio::spawn(async move {
            let load = |_| async move {
                loads.fetch_add(1, Ordering::SeqCst);
                gate.notified().await;
                Ok(text(key))
            };
            pages.get_or_load(key.to_owned(), load).await.map(|value| value.to_string())
        })
    };
    let first = asking("ada");
    tokio::task::yield_now().await;
    let others: Vec<_> = (0..500).map(|_| asking("ada")).collect();
    tokio::task::yield_now().await;
    first.abort();
    let _aborted = first.await;
    gate.notify_one();
    for other in others {
        assert_eq!(other.await.unwrap().unwrap(), "ada");
    }
    assert_eq!(loads.load(Ordering::SeqCst), 1);
    assert_eq!(pages.0.flights.lock().unwrap().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn c1_an_old_copy_stands_in_for_a_load_that_fails_for_ten_minutes() {
    let pages = pages();
    assert_eq!(ask_in_vain(&pages, "ada").await, Err(Code::Unavailable));
    assert_eq!(ask(&pages, "ada", "old").await.unwrap(), "old");
    advance(KEPT / 2).await;
    assert_eq!(ask_in_vain(&pages, "ada").await.unwrap(), "old");
    // What is known to be in vain is not tried for each request.
    assert_eq!(ask(&pages, "ada", "new").await.unwrap(), "old");
    advance(BELIEVED).await;
    assert_eq!(ask(&pages, "ada", "new").await.unwrap(), "new");
    advance(KEPT).await;
    assert_eq!(ask_in_vain(&pages, "ada").await, Err(Code::Unavailable));
}

#[tokio::test(start_paused = true)]
async fn an_old_copy_stands_in_for_a_load_that_takes_long_and_the_load_goes_on() {
    let pages = pages();
    assert_eq!(ask(&pages, "ada", "old").await.unwrap(), "old");
    advance(BELIEVED).await;
    let began = Instant::now();
    let slow = |_| async {
        tokio::time::sleep(PATIENCE * 2).await;
        Ok(text("new"))
    };
    assert_eq!(pages.get_or_load("ada".to_owned(), slow).await.unwrap(), text("old"));
    assert_eq!(began.elapsed(), PATIENCE);
    assert_eq!(ask(&pages, "ada", "other").await.unwrap(), "old");
    assert_eq!(began.elapsed(), PATIENCE, "who comes later waits no longer");
    tokio::time::sleep(PATIENCE * 2).await;
    assert_eq!(ask(&pages, "ada", "other").await.unwrap(), "new");
}

#[tokio::test(start_paused = true)]
async fn a_load_is_handed_the_copy_that_it_replaces() {
    let pages = pages();
    assert_eq!(ask(&pages, "ada", "old").await.unwrap(), "old");
    advance(BELIEVED).await;
    let same = |former: Option<Arc<String>>| async { former.ok_or_else(|| Problem::new(Code::NotFound)) };
    assert_eq!(pages.get_or_load("ada".to_owned(), same).await.unwrap(), text("old"));
    assert_eq!(pages.get("ada"), Some(text("old")));
}

#[tokio::test]
async fn copies_weigh_no_more_than_they_may() {
    let pages: Pages = Nearby::new("test", 10_000, |key, value| key.len() + value.len());
    for n in 0..1_000 {
        ask(&pages, &format!("nobody{n}"), "").await.unwrap();
    }
    pages.0.copies.run_pending_tasks();
    assert!(pages.0.copies.weighted_size() <= 10_000);
    assert!((1..=10_000 / 256).contains(&pages.0.copies.entry_count()));
}

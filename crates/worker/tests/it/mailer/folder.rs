//! Development without a mail server: one `.eml` file a mail.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use worker::mailer::{Cause, Step};

use super::*;

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn mailer(folder: &Path) -> Mailer {
    Mailer::new(&config(&[("MAIL_DIR", folder.to_str().unwrap())])).unwrap()
}

#[tokio::test]
async fn each_mail_is_a_file_of_its_owner_and_files_sort_by_time() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("made/mail");
    let mailer = mailer(&folder);
    let ids: Vec<_> = (0..12).map(|_| Uuid::new_v4()).collect();
    for message_id in &ids {
        mailer.send(Message { to: ADDRESS, kind: reset(), message_id: *message_id }).await.unwrap();
    }

    let names = names(&folder);
    let found: Vec<_> = names
        .iter()
        .map(|name| {
            let path = folder.join(name);
            assert_eq!(path.extension().unwrap(), "eml");
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            testkit::smtp::Mail::parse(fs::read(path).unwrap())
        })
        .collect();
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    let sent: Vec<_> = ids.iter().map(|id| format!("{id}@localhost")).collect();
    assert_eq!(found.iter().map(|mail| mail.message_id.clone()).collect::<Vec<_>>(), sent);
    for mail in found {
        assert_eq!(mail.recipients, [ADDRESS]);
        assert_eq!(mail.links(), [link("reset-password")]);
        assert!(mail.html.contains(TOKEN));
    }
}

#[tokio::test]
async fn r10_the_same_mail_sent_twice_is_two_files_with_one_link() {
    let root = tempfile::tempdir().unwrap();
    let mailer = mailer(root.path());
    let message = message(ADDRESS);
    mailer.send(message.clone()).await.unwrap();
    mailer.send(message).await.unwrap();
    let links: Vec<_> = names(root.path())
        .iter()
        .map(|name| testkit::smtp::Mail::parse(fs::read(root.path().join(name)).unwrap()).links())
        .collect();
    assert!(links.len() == 2 && links[0] == links[1]);
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_may_be_tried_again_and_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("mail");
    fs::write(&folder, "a file in its place").unwrap();
    let mailer = mailer(&folder);
    let error = assert_temporary(send(&mailer).await, "a file");
    assert_eq!(error.step(), Step::File);
    assert!(matches!(error.cause(), Cause::File(_)));

    fs::remove_file(&folder).unwrap();
    send(&mailer).await.unwrap();
    assert_eq!(names(&folder).len(), 1);
}

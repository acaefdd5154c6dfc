//! `crates/domain/src/schema.rs` and `migrations/` describe one database, and each migration takes itself back.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use testkit::database::TestDatabase;

const SCHEMA: &str = include_str!("../../../domain/src/schema.rs");

/// Diesel's name of a type of PostgreSQL.
const TYPES: [(&str, &str); 12] = [
    ("uuid", "Uuid"),
    ("text", "Text"),
    ("timestamptz", "Timestamptz"),
    ("int2", "SmallInt"),
    ("int4", "Integer"),
    ("int8", "BigInt"),
    ("numeric", "Numeric"),
    ("bytea", "Binary"),
    ("jsonb", "Jsonb"),
    ("date", "Date"),
    ("bool", "Bool"),
    ("_text", "Array<Text>"),
];

/// Everything that a schema is made of, a line each.
const FINGERPRINT: &str = "
    SELECT format('column %s.%s %s null %s default %s', table_name, column_name, udt_name, is_nullable, column_default)
      FROM information_schema.columns WHERE table_schema = 'public'
    UNION ALL SELECT format('constraint %s %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
      FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT format('function %s', oid::regprocedure) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    UNION ALL SELECT format('relation %s %s', relname, relkind) FROM pg_class WHERE relnamespace = 'public'::regnamespace
    UNION ALL SELECT format('type %s', typname) FROM pg_type WHERE typnamespace = 'public'::regnamespace";

/// The lines that a query gives, in no order.
async fn lines(database: &TestDatabase, query: &str) -> BTreeSet<String> {
    database.query(query, &[]).await.unwrap().into_iter().map(|row| row.get(0)).collect()
}

/// `table (primary key)` and `table.column -> Type`, as `schema.rs` has them.
fn described() -> BTreeSet<String> {
    let mut described = BTreeSet::new();
    let mut table = None;
    for line in SCHEMA.lines().map(str::trim) {
        if let Some((name, key)) = line.strip_suffix(" {").and_then(|head| head.split_once(" (")) {
            described.insert(format!("{name} ({key}"));
            table = Some(name);
        } else if let (Some(table), Some((column, kind))) = (table, line.split_once(" -> ")) {
            described.insert(format!("{table}.{column} -> {}", kind.trim_end_matches(',')));
        } else if line == "}" {
            table = None;
        }
    }
    described
}

#[tokio::test]
async fn schema_rs_describes_the_migrated_database() {
    let database = TestDatabase::create().await;
    let rows = database
        .query(
            "SELECT table_name::text, column_name::text, udt_name::text, is_nullable::text
             FROM information_schema.columns
             WHERE table_schema = 'public' AND table_name <> '__diesel_schema_migrations'",
            &[],
        )
        .await
        .unwrap();
    let mut migrated: BTreeSet<String> = rows
        .into_iter()
        .map(|row| {
            let [table, column, kind, nullable] = std::array::from_fn::<String, 4, _>(|index| row.get(index));
            let (_, kind) = TYPES.into_iter().find(|(name, _)| *name == kind).unwrap_or_else(|| {
                panic!("{table}.{column} is of the type {kind}, which this test does not know")
            });
            let kind = if nullable == "YES" { format!("Nullable<{kind}>") } else { kind.to_owned() };
            format!("{table}.{column} -> {kind}")
        })
        .collect();
    migrated.extend(
        lines(
            &database,
            "SELECT format('%s (%s)', conrelid::regclass, string_agg(attname, ', ' ORDER BY position))
             FROM pg_constraint, unnest(conkey) WITH ORDINALITY AS key (number, position), pg_attribute
             WHERE contype = 'p' AND connamespace = 'public'::regnamespace AND attrelid = conrelid AND attnum = key.number
               AND conrelid <> '__diesel_schema_migrations'::regclass
             GROUP BY conrelid",
        )
        .await,
    );
    let described = described();
    assert!(described.len() > 100, "schema.rs was read: {described:?}");
    let missing: Vec<_> = migrated.difference(&described).collect();
    let invented: Vec<_> = described.difference(&migrated).collect();
    assert!(
        missing.is_empty() && invented.is_empty(),
        "schema.rs lacks {missing:#?} and has {invented:#?}, which the database has not"
    );
}

/// The folders of the migrations, in order.
fn migrations() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations");
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<_> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

#[tokio::test]
async fn p3_each_migration_takes_itself_back() {
    let database = TestDatabase::create().await;
    let migrated = lines(&database, FINGERPRINT).await;
    database.batch_execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public").await.unwrap();
    let mut before = Vec::new();
    for folder in migrations() {
        before.push(lines(&database, FINGERPRINT).await);
        database.batch_execute(&fs::read_to_string(folder.join("up.sql")).unwrap()).await.unwrap();
        assert_ne!(before.last(), Some(&lines(&database, FINGERPRINT).await), "{folder:?} does something");
    }
    let ours = |line: &&String| !line.contains("__diesel_schema_migrations");
    let by_hand = lines(&database, FINGERPRINT).await;
    assert_eq!(migrated.iter().filter(ours).collect::<Vec<_>>(), by_hand.iter().collect::<Vec<_>>());

    for (folder, before) in migrations().iter().zip(before).rev() {
        database.batch_execute(&fs::read_to_string(folder.join("down.sql")).unwrap()).await.unwrap();
        assert_eq!(lines(&database, FINGERPRINT).await, before, "{folder:?} leaves nothing");
    }
    // And up again, for an operator who went back and thought better of it.
    for folder in migrations() {
        database.batch_execute(&fs::read_to_string(folder.join("up.sql")).unwrap()).await.unwrap();
    }
    assert_eq!(lines(&database, FINGERPRINT).await, by_hand);
}

#[tokio::test]
async fn p3_many_processes_may_migrate_at_once() {
    let database = TestDatabase::create().await;
    database.batch_execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public").await.unwrap();
    let url = secrecy::SecretString::from(database.url());
    let lacking = domain::db::migrate::check(&url).await.unwrap_err().to_string();
    assert!(lacking.contains(&format!("lacks {} migrations", migrations().len())), "{lacking}");
    let runs = (0..5).map(|_| {
        let url = url.clone();
        tokio::spawn(async move { domain::db::migrate::run(&url).await.unwrap().len() })
    });
    let mut run = Vec::new();
    for task in runs.collect::<Vec<_>>() {
        run.push(task.await.unwrap());
    }
    assert_eq!(run.iter().sum::<usize>(), migrations().len(), "each migration was run once: {run:?}");
    domain::db::migrate::check(&url).await.unwrap();
}

DROP TABLE former_identities;
DROP TABLE email_changes;

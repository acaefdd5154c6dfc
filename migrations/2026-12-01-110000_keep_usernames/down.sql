DROP TRIGGER users_claim_username ON users;
DROP FUNCTION claim_username();
DROP TABLE username_changes;
DROP TABLE usernames;

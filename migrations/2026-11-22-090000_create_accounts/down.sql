DROP TABLE deleted_identities, users;

DROP TABLE password_resets, email_verifications;

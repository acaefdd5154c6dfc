DROP TABLE security_events;
DROP FUNCTION keep_security_events();

DROP INDEX links_host;
DROP FUNCTION is_blocked_url (text);
DROP FUNCTION link_host (text);
DROP TABLE blocked_domains, page_reports;

DROP TABLE webhook_deliveries;
DROP TABLE webhook_endpoints;
DELETE FROM outbox WHERE queue = 'webhooks';
ALTER TABLE outbox DROP CONSTRAINT outbox_queue_check;
ALTER TABLE outbox ADD CONSTRAINT outbox_queue_check CHECK (queue IN ('mail', 'rewards', 'maintenance'));

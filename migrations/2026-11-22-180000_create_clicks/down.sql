DROP TABLE click_rollup, click_batches, click_salts, click_visitors, click_hours;

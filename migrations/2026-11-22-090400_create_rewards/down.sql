DROP TABLE discounts, premium_periods, balances, ledger_entries, reward_decisions, rewards, reward_rules;
DROP FUNCTION refuse_change;

DROP TABLE spent_states;
DROP TABLE identities;

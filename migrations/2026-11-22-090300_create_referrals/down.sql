DROP TABLE referral_visits, referral_counters, referrals;

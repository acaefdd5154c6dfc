-- Renews a registration, and returns whether there was one.
-- KEYS: workers set, worker metadata. ARGV: now in seconds, name, seconds the metadata lives.
if not redis.call('ZSCORE', KEYS[1], ARGV[2]) then
  return 0
end
redis.call('ZADD', KEYS[1], 'XX', ARGV[1], ARGV[2])
redis.call('EXPIRE', KEYS[2], ARGV[3])
return 1

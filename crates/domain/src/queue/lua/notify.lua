-- Makes due entries available in chunks (the library does it in one unpack, which fails at about 8,000) and by the
-- pusher's clock, then notifies the consumers.
-- KEYS: scheduled set, active list. ARGV: now in seconds, channel or ''.
local due
repeat
  due = redis.call('ZRANGEBYSCORE', KEYS[1], 0, ARGV[1], 'LIMIT', 0, 1000)
  if #due > 0 then
    redis.call('RPUSH', KEYS[2], unpack(due))
    redis.call('ZREM', KEYS[1], unpack(due))
  end
until #due < 1000
if ARGV[2] ~= '' then
  redis.call('PUBLISH', ARGV[2], '')
end
return 1

-- Ends registrations: their entries go back to the active list, or are deleted where unreadable.
-- KEYS: workers set, active list, data hash, meta prefix, in-flight prefix, worker metadata prefix.
-- ARGV: registrations without a heartbeat since then are ended too ('' for none), then names.
local names = {}
if ARGV[1] ~= '' then
  names = redis.call('ZRANGEBYSCORE', KEYS[1], 0, ARGV[1], 'LIMIT', 0, 50)
end
for i = 2, #ARGV do
  names[#names + 1] = ARGV[i]
end
local returned = 0
for _, name in ipairs(names) do
  local held = KEYS[5] .. ':' .. name
  local ids
  repeat
    ids = redis.call('SPOP', held, 500)
    for _, id in ipairs(ids) do
      if readable(KEYS[3], KEYS[4], id) then
        redis.call('RPUSH', KEYS[2], id)
        returned = returned + 1
      else
        drop(KEYS[3], KEYS[4], id)
      end
    end
  until #ids < 500
  redis.call('ZREM', KEYS[1], name)
  redis.call('DEL', KEYS[6] .. ':' .. name)
end
return returned

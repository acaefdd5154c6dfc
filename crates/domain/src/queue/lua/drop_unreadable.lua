-- Walks the active list once and deletes the unreadable entries.
-- KEYS: active list, data hash, meta prefix.
local dropped = 0
for _ = 1, redis.call('LLEN', KEYS[1]) do
  local id = redis.call('LPOP', KEYS[1])
  if id then
    if readable(KEYS[2], KEYS[3], id) then
      redis.call('RPUSH', KEYS[1], id)
    else
      drop(KEYS[2], KEYS[3], id)
      dropped = dropped + 1
    end
  end
end
return dropped

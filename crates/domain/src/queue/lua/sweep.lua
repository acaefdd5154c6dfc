-- Deletes a bounded number of finished entries: the library keeps their data, metadata and result for ever.
-- KEYS: finished set, data hash, meta prefix. ARGV: how many at most.
local ids = redis.call('SPOP', KEYS[1], ARGV[1])
if #ids > 0 then
  redis.call('HDEL', KEYS[2], unpack(ids))
  for _, id in ipairs(ids) do
    redis.call('DEL', KEYS[3] .. ':' .. id)
  end
end
return #ids

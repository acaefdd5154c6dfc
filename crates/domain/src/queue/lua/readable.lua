-- Whether the library can read this entry. Its worker stops at an entry it cannot read, and again each time that entry
-- comes back. Only canonical ids are readable: the library formats an id anew when it acknowledges it.
local function readable(data, meta, id)
  if #id ~= 26 or not string.match(id, '^[0-7][0-9A-HJKMNP-TV-Z]+$') then
    return false
  end
  local there = redis.pcall('HEXISTS', data, id)
  if there ~= 1 then
    return false
  end
  local fields = redis.pcall('HMGET', meta .. ':' .. id, 'attempts', 'max_attempts', 'status')
  if fields.err or not (fields[1] and fields[2] and fields[3]) then
    return false
  end
  return string.match(fields[1], '^%d%d?%d?%d?$') ~= nil
    and string.match(fields[2], '^%d%d?%d?%d?$') ~= nil
    and (fields[3] == 'Pending' or fields[3] == 'Running' or fields[3] == 'Queued' or fields[3] == 'Done'
      or fields[3] == 'Failed' or fields[3] == 'Killed')
end

-- Deletes an entry for good. PostgreSQL pushes its job again.
local function drop(data, meta, id)
  redis.pcall('HDEL', data, id)
  redis.pcall('DEL', meta .. ':' .. id)
end

-- Lightfast: tells which track is which.
--
-- OSC names tracks by their position only, and REAPER's OSC has no way for a script to send. So this script writes the
-- tracks' GUIDs and the project's path into a small file that the Lightfast daemon reads:
--   <REAPER resource path>/lightfast/tracks.json
-- It writes when the project has changed, at most twice a second, and removes the file when it ends. It changes nothing
-- in the project.

local FOLDER = reaper.GetResourcePath() .. "/lightfast"
local FILE = FOLDER .. "/tracks.json"
local PARTIAL = FILE .. ".partial"
local PAUSE = 0.5 -- seconds between two looks at the project

local last_count, last_path, last_text
local next_look = 0
local sequence = 0

local function quoted(text)
  local escaped = text:gsub('[\1-\31\127"\\]', function(character)
    return string.format("\\u%04x", string.byte(character))
  end)
  return '"' .. escaped .. '"'
end

local function described(project, path)
  local tracks = {}
  for index = 0, reaper.CountTracks(project) - 1 do
    local track = reaper.GetTrack(project, index)
    local _, name = reaper.GetSetMediaTrackInfo_String(track, "P_NAME", "", false)
    tracks[#tracks + 1] = string.format('{"guid": %s, "name": %s}', quoted(reaper.GetTrackGUID(track)), quoted(name))
  end
  return string.format('"project": %s, "reaper": %s, "tracks": [%s]}', quoted(path), quoted(reaper.GetAppVersion()),
    table.concat(tracks, ", "))
end

local function write(text)
  sequence = sequence + 1
  local file, trouble = io.open(PARTIAL, "wb")
  if not file then
    return trouble
  end
  file:write(string.format('{"version": 1, "sequence": %d, %s', sequence, text))
  file:close()
  if not os.rename(PARTIAL, FILE) then
    os.remove(FILE) -- Windows does not rename over a file that is there
    local renamed, why = os.rename(PARTIAL, FILE)
    if not renamed then
      return why
    end
  end
end

local function look()
  local project, path = reaper.EnumProjects(-1)
  local count = reaper.GetProjectStateChangeCount(project)
  if count == last_count and path == last_path then
    return
  end
  local text = described(project, path)
  if text ~= last_text then
    local trouble = write(text)
    if trouble then
      reaper.ShowConsoleMsg("Lightfast cannot write " .. FILE .. ": " .. tostring(trouble) .. "\n")
      return "stop"
    end
  end
  last_count, last_path, last_text = count, path, text
end

local function loop()
  local now = reaper.time_precise()
  if now >= next_look then
    next_look = now + PAUSE
    if look() == "stop" then
      return
    end
  end
  reaper.defer(loop)
end

reaper.RecursiveCreateDirectory(FOLDER, 0)
reaper.atexit(function()
  os.remove(PARTIAL)
  os.remove(FILE)
end)
loop()

-- A Time Delay that is made shorter holds those who wait already as long as it said before: their emails come of older
-- generations than the wait of now says. Releases before this one leave both null.
ALTER TABLE flow_messages
    ADD COLUMN former_s     int,          -- the most that the email took before; null: never longer than now
    ADD COLUMN former_until timestamptz;  -- when the last email by that has left

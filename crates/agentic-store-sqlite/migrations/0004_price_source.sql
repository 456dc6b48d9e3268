-- Where a price was taken from, as JSON; absent = it was set by hand.
ALTER TABLE quotas ADD COLUMN price_source TEXT;

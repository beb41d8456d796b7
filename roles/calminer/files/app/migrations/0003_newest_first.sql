-- The page and the API list the newest first.
CREATE INDEX scenario_created_at ON scenario (created_at DESC, id DESC);

-- The figures that a scenario's worth is computed from. Defaults keep the release before this one able to insert.
ALTER TABLE scenario
    ADD COLUMN commodity     text NOT NULL DEFAULT 'copper',
    ADD COLUMN tonnes_a_year double precision NOT NULL DEFAULT 0 CHECK (tonnes_a_year >= 0),
    ADD COLUMN price         double precision NOT NULL DEFAULT 0 CHECK (price >= 0),
    ADD COLUMN unit_cost     double precision NOT NULL DEFAULT 0 CHECK (unit_cost >= 0),
    ADD COLUMN investment    double precision NOT NULL DEFAULT 0 CHECK (investment >= 0),
    ADD COLUMN years         integer NOT NULL DEFAULT 10 CHECK (years BETWEEN 1 AND 100),
    ADD COLUMN discount_rate double precision NOT NULL DEFAULT 0.08 CHECK (discount_rate >= 0 AND discount_rate < 1);

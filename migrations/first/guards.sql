-- What no change of any row may break, whoever makes it.

-- What is added to these tables stays as it is. What timelines and clocks are made of goes with
-- its case, and only where the transaction says that it purges.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND TG_TABLE_NAME IN ('timeline_entry', 'clock_mark')
        AND current_setting('secondlook.purging', true) = 'on' THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'rows of % are never changed', TG_TABLE_NAME;
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON timeline_entry
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON clock_mark
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_entry
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- An opinion stays as it was said. All that happens to one is that it is taken back, once.
CREATE FUNCTION refuse_other_opinion() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF current_setting('secondlook.purging', true) = 'on' THEN
            RETURN OLD;
        END IF;
    ELSIF OLD.taken_back_at IS NULL
        AND (to_jsonb(NEW) - 'taken_back_at') = (to_jsonb(OLD) - 'taken_back_at') THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'an opinion is never changed';
END $$;
CREATE TRIGGER stays_as_said BEFORE UPDATE OR DELETE ON opinion
FOR EACH ROW EXECUTE FUNCTION refuse_other_opinion();

-- The last resort owns what nobody else can, from the first moment on.
INSERT INTO team (slug, name) VALUES ('last-resort', 'Last resort');
CREATE FUNCTION refuse_loss_of_last_resort() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the last resort stays'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'last_resort_stays';
END $$;
CREATE TRIGGER last_resort_stays BEFORE UPDATE OF slug, active OR DELETE ON team
FOR EACH ROW WHEN (OLD.slug = 'last-resort') EXECUTE FUNCTION refuse_loss_of_last_resort();

-- A case moves from state to state as the transition table has it.
CREATE FUNCTION refuse_illegal_move() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (OLD.state, NEW.state) NOT IN (
        ('open', 'claimed'),
        ('open', 'snoozed'),
        ('open', 'merged'),
        ('claimed', 'open'),
        ('claimed', 'waiting'),
        ('claimed', 'snoozed'),
        ('claimed', 'resolved'),
        ('claimed', 'merged'),
        ('waiting', 'open'),
        ('waiting', 'merged'),
        ('snoozed', 'open'),
        ('snoozed', 'merged'),
        ('resolved', 'merged'),
        ('resolved', 'open'),
        ('resolved', 'closed'),
        ('closed', 'open'),
        ('merged', 'open'),
        ('merged', 'resolved')
    ) THEN
        RAISE EXCEPTION 'a case does not go from % to %', OLD.state, NEW.state
            USING ERRCODE = 'check_violation', CONSTRAINT = 'legal_move';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER legal_move BEFORE UPDATE OF state ON "case"
FOR EACH ROW WHEN (OLD.state <> NEW.state) EXECUTE FUNCTION refuse_illegal_move();

-- An open case's owner is there: nobody becomes one who cannot own it, and nobody who is one
-- stops being able to. FOR SHARE makes the two wait for each other.
CREATE FUNCTION can_own(team_slug text) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT team_slug = 'last-resort' OR EXISTS (
        SELECT FROM team t
        JOIN membership m ON m.team = t.slug
        JOIN person p ON p.email = m.person
        WHERE t.slug = team_slug AND t.active AND p.active AND p.role IN ('owner', 'lead', 'admin'))
$$;
CREATE FUNCTION require_able_owner() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE able boolean;
BEGIN
    IF NEW.owner_team IS NOT NULL THEN
        PERFORM FROM team WHERE slug = NEW.owner_team AND active FOR SHARE;
        able := FOUND AND can_own(NEW.owner_team);
    ELSE
        PERFORM FROM person
        WHERE email = NEW.owner_person AND active AND role IN ('owner', 'lead', 'admin') FOR SHARE;
        able := FOUND;
    END IF;
    IF NOT able THEN
        RAISE EXCEPTION '% is not active or has nobody who may review, and cannot own a case',
            coalesce(NEW.owner_team, NEW.owner_person)
            USING ERRCODE = 'check_violation', CONSTRAINT = 'owner_is_active';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER owner_is_active BEFORE INSERT OR UPDATE OF owner_team, owner_person ON "case"
FOR EACH ROW EXECUTE FUNCTION require_able_owner();
CREATE TRIGGER owner_is_there_again BEFORE UPDATE OF state ON "case"
FOR EACH ROW WHEN (OLD.state NOT IN ('open', 'claimed', 'waiting', 'snoozed')
    AND NEW.state IN ('open', 'claimed', 'waiting', 'snoozed'))
EXECUTE FUNCTION require_able_owner();

-- Whoever or whatever comes to a team waits for its removal, and is refused after it.
CREATE FUNCTION require_active_team() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM team WHERE slug = NEW.team AND active FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no team %', NEW.team
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'team_is_active';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER team_is_active BEFORE INSERT OR UPDATE OF team ON tool
FOR EACH ROW EXECUTE FUNCTION require_active_team();
CREATE TRIGGER team_is_active BEFORE INSERT OR UPDATE OF team ON schedule
FOR EACH ROW EXECUTE FUNCTION require_active_team();
CREATE TRIGGER team_is_active BEFORE INSERT OR UPDATE OF team ON membership
FOR EACH ROW EXECUTE FUNCTION require_active_team();

CREATE FUNCTION refuse_leaving_owner() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM "case" c
        WHERE c.state IN ('open', 'claimed', 'waiting', 'snoozed')
          AND CASE TG_TABLE_NAME WHEN 'person' THEN c.owner_person = to_jsonb(OLD)->>'email'
                                 ELSE c.owner_team = to_jsonb(OLD)->>'slug' END
    ) THEN
        RAISE EXCEPTION 'an owner of open cases cannot leave'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'owner_stays';
    END IF;
    IF TG_TABLE_NAME = 'team'
        AND EXISTS (SELECT FROM tool WHERE team = to_jsonb(OLD)->>'slug') THEN
        RAISE EXCEPTION 'a team that has tools cannot be removed'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'tools_stay';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER owner_stays BEFORE UPDATE OF role, active ON person
FOR EACH ROW WHEN (OLD.active AND OLD.role IN ('owner', 'lead', 'admin')
    AND NOT (NEW.active AND NEW.role IN ('owner', 'lead', 'admin')))
EXECUTE FUNCTION refuse_leaving_owner();
CREATE TRIGGER owner_stays BEFORE UPDATE OF active ON team
FOR EACH ROW WHEN (OLD.active AND NOT NEW.active) EXECUTE FUNCTION refuse_leaving_owner();

-- A team with tools or open cases keeps somebody who may review. Its row is locked before its
-- reviewers are counted, so of two people who would leave it at the same moment the second
-- sees that the first has gone.
CREATE FUNCTION refuse_loss_of_reviewers(team_left text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM team WHERE slug = team_left FOR NO KEY UPDATE;
    IF NOT can_own(team_left) AND (
        EXISTS (SELECT FROM "case" WHERE owner_team = team_left
                AND state IN ('open', 'claimed', 'waiting', 'snoozed'))
        OR EXISTS (SELECT FROM tool WHERE team = team_left)
    ) THEN
        RAISE EXCEPTION 'nobody could review in team % any more', team_left
            USING ERRCODE = 'check_violation', CONSTRAINT = 'reviewer_stays', DETAIL = team_left;
    END IF;
END $$;
CREATE FUNCTION refuse_loss_of_person() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE left_behind text;
BEGIN
    FOR left_behind IN SELECT team FROM membership WHERE person = NEW.email ORDER BY team LOOP
        PERFORM refuse_loss_of_reviewers(left_behind);
    END LOOP;
    RETURN NULL;
END $$;
CREATE FUNCTION refuse_loss_of_member() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM person
               WHERE email = OLD.person AND active AND role IN ('owner', 'lead', 'admin')) THEN
        PERFORM refuse_loss_of_reviewers(OLD.team);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER reviewer_stays AFTER UPDATE OF role, active ON person
FOR EACH ROW WHEN (OLD.active AND OLD.role IN ('owner', 'lead', 'admin')
    AND NOT (NEW.active AND NEW.role IN ('owner', 'lead', 'admin')))
EXECUTE FUNCTION refuse_loss_of_person();
CREATE TRIGGER reviewer_stays AFTER UPDATE OR DELETE ON membership
FOR EACH ROW EXECUTE FUNCTION refuse_loss_of_member();

-- Somebody can always let others in. The number is `Lock.LEAVE_AS_ADMIN`.
CREATE FUNCTION refuse_loss_of_last_admin() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(1589660948);
    IF NOT EXISTS (SELECT FROM person WHERE active AND role = 'admin') THEN
        RAISE EXCEPTION 'there would be no admin any more'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'admin_stays';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER admin_stays AFTER UPDATE OF role, active ON person
FOR EACH ROW WHEN (OLD.active AND OLD.role = 'admin'
    AND NOT (NEW.active AND NEW.role = 'admin'))
EXECUTE FUNCTION refuse_loss_of_last_admin();

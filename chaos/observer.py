"""What Postgres itself notes of jobs and batches, by triggers of the campaign: who moved them does not matter."""

from models.base import quoted
from models.states import FINAL_STATES

REWRITTEN = ", rewritten"  # beside the state of a row that was written again, though it stayed final
# Each time a job enters or leaves a final state, whoever does it, and each time a final row is written again. Only a
# retry may do that, once: its key and its charge go over to the next generation. And each time a batch is called
# something else, with how many of its jobs are still to end.
WATCH = f"""
    CREATE TABLE chaos_finals (id bigint GENERATED ALWAYS AS IDENTITY, job_id uuid, was text, state text,
                               at timestamptz DEFAULT clock_timestamp());
    CREATE FUNCTION chaos_watch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO chaos_finals (job_id, was, state)
        VALUES (NEW.id, CASE WHEN TG_OP = 'UPDATE' THEN OLD.state END,
                NEW.state || CASE TG_NAME WHEN 'chaos_rewritten' THEN '{REWRITTEN}' ELSE '' END);
        RETURN NULL;
    END $$;
    CREATE TRIGGER chaos_born AFTER INSERT ON jobs FOR EACH ROW WHEN (NEW.state IN ({quoted(FINAL_STATES)}))
        EXECUTE FUNCTION chaos_watch();
    CREATE TRIGGER chaos_moved AFTER UPDATE OF state ON jobs FOR EACH ROW
        WHEN (OLD.state <> NEW.state
              AND (OLD.state IN ({quoted(FINAL_STATES)}) OR NEW.state IN ({quoted(FINAL_STATES)})))
        EXECUTE FUNCTION chaos_watch();
    CREATE TRIGGER chaos_rewritten AFTER UPDATE ON jobs FOR EACH ROW
        WHEN (OLD.state IN ({quoted(FINAL_STATES)}) AND OLD.state = NEW.state AND OLD.* IS DISTINCT FROM NEW.*
              AND NOT (OLD.superseded_at IS NULL AND NEW.superseded_at IS NOT NULL
                       AND to_jsonb(NEW) - '{{superseded_at,idempotency_key,cost_usd}}'::text[]
                         = to_jsonb(OLD) - '{{superseded_at,idempotency_key,cost_usd}}'::text[]))
        EXECUTE FUNCTION chaos_watch();
    CREATE TABLE chaos_moves (id bigint GENERATED ALWAYS AS IDENTITY, batch_id uuid, status text, unfinished bigint);
    CREATE FUNCTION chaos_moved() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO chaos_moves (batch_id, status, unfinished)
        SELECT NEW.id, NEW.status, count(*) FROM jobs WHERE batch_id = NEW.id AND finished_at IS NULL;
        RETURN NULL;
    END $$;
    CREATE TRIGGER chaos_moved AFTER UPDATE ON batches FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status)
        EXECUTE FUNCTION chaos_moved();
"""

//! Giving events from other servers their place in a room.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use luxchat_store::{EventNid, EventStatus, Pdu, ReadTx, RoomNid, WriteTx};
use ruma::{EventId, OwnedEventId, events::StateEventType, room_version_rules::RoomVersionRules};

use crate::{
    Authorised, Origin, PduError, Placement, Rooms, append,
    assess::{Assessment, Assessor, Before, Effort, Head, Place},
    auth_checks::Fetched,
    policy_server::{is_recommended, policy_of},
    receive::Inbound,
    resolve::State,
};

/// Assessments that a room may outrun, by local events, before one is made on the writer's thread.
const ATTEMPTS: usize = 4;

/// The same where an assessment takes longer than [`QUICK`]. On the writer's thread, all rooms would wait for it.
const SLOW_ATTEMPTS: usize = 32;
const QUICK: Duration = Duration::from_millis(100);

/// What stands between an event and its place.
#[derive(Debug)]
pub(crate) enum Step {
    /// Nothing: it has it.
    Done,
    /// Events that authorise it are missing here.
    MissingAuthEvents(Vec<OwnedEventId>),
    /// Events before it are missing here.
    MissingPrevEvents(Vec<OwnedEventId>),
}

impl Step {
    /// Whether something is missing here.
    pub(crate) fn is_missing(&self) -> bool {
        !matches!(self, Self::Done)
    }

    /// # Errors
    ///
    /// [`PduError::MissingAncestor`] where something is still missing.
    pub(crate) fn done(self) -> Result<(), PduError> {
        match self {
            Self::Done => Ok(()),
            Self::MissingAuthEvents(missing) | Self::MissingPrevEvents(missing) => {
                match missing.into_iter().next() {
                    Some(event_id) => Err(PduError::MissingAncestor(event_id)),
                    None => Ok(()),
                }
            }
        }
    }
}

impl Rooms {
    /// Places events in one write for as long as a few look-ups do, and says how many. An event that fails ends the run:
    /// placed by itself, it says why.
    pub(crate) async fn accept_run(
        &self,
        inbound: &Inbound,
        events: &[Arc<Pdu>],
    ) -> Result<usize, PduError> {
        let gaps = Arc::default();
        let jobs: Vec<Job> = events
            .iter()
            .map(|pdu| Job::new(inbound, pdu, &gaps))
            .collect();
        self.store
            .write(move |tx| {
                for (done, job) in jobs.iter().enumerate() {
                    let Ok(assessment) = job.assess(tx, Effort::Quick) else {
                        return Ok(done);
                    };
                    // One that lacks the signature of the policy server is placed by itself, once that was asked for it.
                    let is_fit = match &assessment {
                        Assessment::Ready(_) => job.is_recommended(tx)?,
                        _ => true,
                    };
                    if !is_fit || !matches!(job.place(tx, assessment)?, Some(Step::Done)) {
                        return Ok(done);
                    }
                }
                Ok(jobs.len())
            })
            .await
    }

    /// Places an event, whatever work it takes. `gaps` are the states after those of its parents that are not here.
    pub(crate) async fn accept(
        &self,
        inbound: &Inbound,
        pdu: &Arc<Pdu>,
        gaps: HashMap<OwnedEventId, State>,
    ) -> Result<Step, PduError> {
        let job = Job::new(inbound, pdu, &Arc::new(gaps));
        if let Some(step) = self.run(&job, Effort::Quick).await? {
            return Ok(step);
        }
        let own = match pdu.state_key() {
            Some(_) => self.keep_outlier(inbound, pdu).await?,
            None => None,
        };
        let effort = Effort::Full { own };
        let mut is_quick = true;
        for attempt in 0..SLOW_ATTEMPTS {
            if attempt >= ATTEMPTS && is_quick {
                break;
            }
            let (assessment, time) = {
                let _place = self.resolutions.acquire().await;
                let job = job.clone();
                let assess = move |tx: &ReadTx<'_>| {
                    let started = Instant::now();
                    let assessment = job.assess(tx, effort)?;
                    Ok::<_, PduError>((assessment, started.elapsed()))
                };
                self.store.read(assess).await?
            };
            is_quick = time < QUICK;
            let placed = {
                let job = job.clone();
                self.store
                    .write(move |tx| job.place(tx, assessment))
                    .await?
            };
            if let Some(step) = placed {
                return Ok(step);
            }
        }
        if !is_quick {
            return Err(PduError::Busy);
        }
        self.run(&job, effort).await?.ok_or(PduError::Busy)
    }

    /// Assesses and places an event in one write.
    async fn run(&self, job: &Job, effort: Effort) -> Result<Option<Step>, PduError> {
        let job = job.clone();
        self.store
            .write(move |tx| {
                let assessment = job.assess(tx, effort)?;
                job.place(tx, assessment)
            })
            .await
    }

    /// Stores an event without a place, so that it has an integer id.
    pub(crate) async fn keep_outlier(
        &self,
        inbound: &Inbound,
        pdu: &Arc<Pdu>,
    ) -> Result<Option<EventNid>, PduError> {
        let (room, rules, pdu) = (inbound.room.nid, inbound.rules.clone(), Arc::clone(pdu));
        self.store
            .write(move |tx| {
                if let Some(known) = tx.event_nid(room, pdu.event_id())? {
                    return Ok(Some(known));
                }
                let event = authorise_outlier(tx, room, &rules, pdu)?;
                let mut room = tx.room(room)?;
                let inserted = append(tx, &mut room, &event, Placement::Outlier, Origin::Remote)?;
                Ok::<_, PduError>(inserted.map(|inserted| inserted.nid))
            })
            .await
    }
}

/// Checks an event against its auth events, which are in the store.
pub(crate) fn authorise_outlier(
    tx: &ReadTx<'_>,
    room: RoomNid,
    rules: &RoomVersionRules,
    pdu: Arc<Pdu>,
) -> Result<Authorised, PduError> {
    let fetched = Fetched::default();
    let auth_event =
        |event_id: &EventId| fetched.keep(|| Ok(tx.pdu(room, event_id)?.map(Arc::new)));
    let event = Authorised::by_auth_events(&rules.authorization, pdu, auth_event);
    fetched.check()?;
    Ok(event)
}

/// Checks an event against its auth events and the state before it, all of it in the store.
pub(crate) fn authorise_against(
    tx: &ReadTx<'_>,
    room: RoomNid,
    rules: &RoomVersionRules,
    pdu: Arc<Pdu>,
    state: &State,
) -> Result<Authorised, PduError> {
    let fetched = Fetched::default();
    let event = authorise_outlier(tx, room, rules, pdu)?
        .and_state_before(&rules.authorization, lookup(tx, state, &fetched));
    fetched.check()?;
    Ok(event)
}

/// The same where that state is also the room's current state.
pub(crate) fn authorise_as_current(
    tx: &ReadTx<'_>,
    room: RoomNid,
    rules: &RoomVersionRules,
    pdu: Arc<Pdu>,
    state: &State,
) -> Result<Authorised, PduError> {
    let fetched = Fetched::default();
    let event = authorise_against(tx, room, rules, pdu, state)?
        .and_current_state(&rules.authorization, lookup(tx, state, &fetched));
    fetched.check()?;
    Ok(event)
}

fn lookup(
    tx: &ReadTx<'_>,
    state: &State,
    fetched: &Fetched,
) -> impl Fn(&StateEventType, &str) -> Option<Arc<Pdu>> {
    |event_type, state_key| {
        fetched.keep(|| {
            let key = tx.state_key_nid(event_type, state_key)?;
            match key.and_then(|key| state.get(&key)) {
                Some(event) => Ok(Some(Arc::new(tx.event_by_nid(*event)?.into_pdu()?))),
                None => Ok(None),
            }
        })
    }
}

/// An event on its way to its place.
#[derive(Clone)]
struct Job {
    room: RoomNid,
    rules: RoomVersionRules,
    made_by: Origin,
    pdu: Arc<Pdu>,
    gaps: Arc<HashMap<OwnedEventId, State>>,
}

impl Job {
    fn new(inbound: &Inbound, pdu: &Arc<Pdu>, gaps: &Arc<HashMap<OwnedEventId, State>>) -> Self {
        Self {
            room: inbound.room.nid,
            rules: inbound.rules.clone(),
            made_by: inbound.made_by,
            pdu: Arc::clone(pdu),
            gaps: Arc::clone(gaps),
        }
    }

    fn assess(&self, tx: &ReadTx<'_>, effort: Effort) -> Result<Assessment, PduError> {
        let room = tx.room(self.room)?;
        Assessor::new(tx, &room, &self.rules, &self.gaps)?.assess(&self.pdu, effort)
    }

    /// Whether the room's policy server, if it has one, has signed the event.
    fn is_recommended(&self, tx: &ReadTx<'_>) -> Result<bool, PduError> {
        let recommended = match policy_of(tx, &tx.room(self.room)?) {
            Ok(None) => Ok(true),
            Ok(Some(policy)) => is_recommended(&policy, &self.pdu, &self.rules),
            Err(error) => Err(error),
        };
        recommended.map_err(|error| match error {
            crate::Error::Store(error) => error.into(),
            other => PduError::Internal(other.to_string()),
        })
    }

    /// Makes an assessment so. `None` where it needs more work, or the room has moved on.
    fn place(
        &self,
        tx: &mut WriteTx<'_>,
        assessment: Assessment,
    ) -> Result<Option<Step>, PduError> {
        let place = match assessment {
            Assessment::Known => return Ok(Some(Step::Done)),
            Assessment::MissingAuthEvents(missing) => {
                return Ok(Some(Step::MissingAuthEvents(missing)));
            }
            Assessment::MissingPrevEvents(missing) => {
                return Ok(Some(Step::MissingPrevEvents(missing)));
            }
            Assessment::NeedsResolution => return Ok(None),
            Assessment::Ready(place) => *place,
        };
        let Place {
            head,
            before,
            mut event,
            current,
        } = place;
        if !self.is_recommended(tx)? {
            event.hold_back("the room's policy server has not signed it");
        }
        let mut room = tx.room(self.room)?;
        if Head::of(tx, &room)? != head {
            return Ok(None);
        }
        let before = match before {
            Before::At(at) => at,
            Before::Changed { from, changes } => {
                let at = tx.fork_coordinate(&room, from)?;
                let position = tx.next_position();
                tx.record_changes(at, &changes, position)?;
                at
            }
        };
        let placement = match event.status() {
            EventStatus::Accepted => Placement::Live { before, current },
            EventStatus::SoftFailed | EventStatus::Rejected => Placement::Unseen { before },
        };
        append(tx, &mut room, &event, placement, self.made_by)?;
        Ok(Some(Step::Done))
    }
}

//! What one transaction carries.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#transactions>

use std::collections::{BTreeMap, btree_map::Entry};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use luxchat_store::{Cursors, Error, OutgoingReceipt, Position, ReadTx, RoomNid, ServerNid};
use ruma::{
    CanonicalJsonValue, OwnedRoomId, OwnedTransactionId,
    api::federation::transactions::edu::{Edu, ReceiptContent, ReceiptData, ReceiptMap},
    events::receipt::Receipt,
    serde::Raw,
};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use tracing::warn;

/// The specification's limit.
const MAX_PDUS: usize = 50;

/// The specification's limit is 100 EDUs: these, and as many ephemeral ones as find room.
const MAX_TO_DEVICE: u32 = 50;
const MAX_TO_DEVICE_BYTES: usize = 4 * 1024 * 1024;
const MAX_DEVICE_LISTS: u32 = 30;
const MAX_RECEIPTS: u32 = 200;
const MAX_RECEIPT_EDUS: usize = 4;

/// Ephemeral EDUs in one transaction.
pub(crate) const MAX_EPHEMERAL: usize = 16;

/// Which events one transaction carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pdus {
    /// Those that come next.
    InOrder,
    /// Those of a room that come next after a position, up to another.
    OfRoom(RoomNid, Position, Position),
    /// Those that come next after a position, up to another, and that no room's timeline has where they were stored.
    OutOfLine(Position, Position),
}

/// What one transaction carries, and how far it brings its destination.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) pdus: Vec<Box<RawValue>>,
    pub(crate) edus: Vec<Raw<Edu>>,
    /// How far the events reach that were asked for.
    pub(crate) reached: Position,
    /// The cursors once the destination has it all.
    pub(crate) cursors: Cursors,
    /// The last to-device message in it.
    pub(crate) to_device: Option<Position>,
    /// Whether there may be more behind the cursors.
    pub(crate) more: bool,
}

impl Batch {
    /// Nothing, which brings its destination nowhere.
    pub(crate) fn empty() -> Self {
        Self {
            pdus: Vec::new(),
            edus: Vec::new(),
            reached: Position::START,
            cursors: Cursors {
                pdus: Position::START,
                device_lists: Position::START,
                receipts: Position::START,
            },
            to_device: None,
            more: false,
        }
    }

    /// Reads what waits for `server` behind `cursors`, with or without the names of devices.
    pub(crate) fn read(
        tx: &ReadTx<'_>,
        server: ServerNid,
        cursors: Cursors,
        pdus: Pdus,
        share_device_names: bool,
    ) -> Result<Self, Error> {
        let newest = tx.position()?;
        let (pdus, reached, pdus_to) = match pdus {
            Pdus::InOrder => {
                let (pdus, reached) = tx.outgoing_pdus(server, cursors.pdus, MAX_PDUS)?;
                (pdus, reached, reached)
            }
            Pdus::OfRoom(room, after, until) => {
                let read = tx.outgoing_pdus_of_room(server, room, after, until, MAX_PDUS);
                let (pdus, reached) = read?;
                (pdus, reached, cursors.pdus)
            }
            Pdus::OutOfLine(after, until) => {
                let read = tx.outgoing_pdus_out_of_line(server, after, until, MAX_PDUS);
                let (pdus, reached) = read?;
                (pdus, reached, cursors.pdus)
            }
        };
        let to_device = to_device_edus(tx, server, newest)?;
        let mut devices = tx.outgoing_device_list_updates(
            server,
            cursors.device_lists,
            newest,
            MAX_DEVICE_LISTS,
        )?;
        if !share_device_names {
            devices.edus.iter_mut().for_each(leave_unnamed);
        }
        let receipts = tx.outgoing_receipts(server, cursors.receipts, MAX_RECEIPTS)?;
        let (receipts, receipts_to) = receipt_edus(receipts, newest);

        let more =
            pdus_to < newest || devices.up_to < newest || receipts_to < newest || to_device.more;
        let mut edus = raw(devices.edus)?;
        edus.extend(to_device.edus);
        edus.extend(raw(receipts)?);
        edus.retain(can_be_signed);
        Ok(Self {
            pdus: pdus
                .into_iter()
                .map(|(_, _, json)| RawValue::from_string(json))
                .collect::<Result<_, _>>()
                .map_err(|error| Error::invalid("event", error))?,
            edus,
            reached,
            cursors: Cursors {
                pdus: pdus_to,
                device_lists: devices.up_to,
                receipts: receipts_to,
            },
            to_device: to_device.last,
            more,
        })
    }

    /// Whether there is nothing to send.
    pub(crate) fn is_empty(&self) -> bool {
        self.pdus.is_empty() && self.edus.is_empty()
    }

    /// Adds EDUs that nothing is kept of.
    pub(crate) fn add_ephemeral(&mut self, edus: impl IntoIterator<Item = Raw<Edu>>) {
        let edus = edus.into_iter().take(MAX_EPHEMERAL);
        self.edus.extend(edus.filter(can_be_signed));
    }

    /// The transaction's id: the digest of what it carries. The same content, sent again after a failure or a crash, is
    /// the same transaction; after a restore from a backup, other content at the same positions is another one.
    pub(crate) fn transaction_id(&self) -> OwnedTransactionId {
        let mut digest = Sha256::new();
        for pdu in &self.pdus {
            digest.update(pdu.get());
            digest.update([0]);
        }
        digest.update([1]);
        for edu in &self.edus {
            digest.update(edu.json().get());
            digest.update([0]);
        }
        URL_SAFE_NO_PAD.encode(&digest.finalize()[..16]).into()
    }
}

/// To-device messages for one transaction.
struct ToDevice {
    edus: Vec<Raw<Edu>>,
    last: Option<Position>,
    more: bool,
}

/// The oldest to-device messages, as many as fit; the first one always does.
fn to_device_edus(tx: &ReadTx<'_>, server: ServerNid, newest: Position) -> Result<ToDevice, Error> {
    let read = |limit: u32| {
        let outbox = tx.to_device_outbox(server, Position::START, newest, limit)?;
        let edus = raw(outbox.edus.into_iter().map(Edu::DirectToDevice).collect())?;
        Ok::<_, Error>((edus, outbox.last))
    };
    let (mut edus, mut last) = read(MAX_TO_DEVICE)?;
    let mut more = edus.len() >= MAX_TO_DEVICE as usize;
    let fitting = edus
        .iter()
        .scan(0, |bytes, edu| {
            *bytes += edu.json().get().len();
            Some(*bytes)
        })
        .take_while(|bytes| *bytes <= MAX_TO_DEVICE_BYTES)
        .count()
        .max(1);
    if fitting < edus.len() {
        (edus, last) = read(u32::try_from(fitting).unwrap_or(1))?;
        more = true;
    }
    Ok(ToDevice { edus, last, more })
}

fn leave_unnamed(edu: &mut Edu) {
    if let Edu::DeviceListUpdate(update) = edu {
        update.device_display_name = None;
    }
}

fn raw(edus: Vec<Edu>) -> Result<Vec<Raw<Edu>>, Error> {
    edus.iter()
        .map(Raw::new)
        .collect::<Result<_, _>>()
        .map_err(|error| Error::invalid("EDU", error))
}

/// Whether an EDU is canonical JSON. A client may have written one that is not, with a fraction in it; it would keep
/// the request from being signed, and all that come after it from being sent.
fn can_be_signed(edu: &Raw<Edu>) -> bool {
    let parsed: Result<CanonicalJsonValue, _> = serde_json::from_str(edu.json().get());
    if let Err(error) = &parsed {
        warn!(%error, "an EDU that cannot be signed is dropped");
    }
    parsed.is_ok()
}

/// Receipts as EDUs, one receipt per room and user in each, and the position up to which they reach.
fn receipt_edus(receipts: Vec<OutgoingReceipt>, newest: Position) -> (Vec<Edu>, Position) {
    let cut = receipts.len() >= MAX_RECEIPTS as usize;
    let mut contents: Vec<BTreeMap<OwnedRoomId, ReceiptMap>> = Vec::new();
    let mut last = None;
    for OutgoingReceipt { room_id, receipt } in receipts {
        let seq = receipt.seq;
        let mut data = Receipt::new(receipt.ts);
        data.thread = receipt.thread;
        let data = ReceiptData::new(data, vec![receipt.event_id]);
        let free = contents.iter_mut().position(|rooms| {
            rooms
                .get(&room_id)
                .is_none_or(|map| !map.read.contains_key(&receipt.user_id))
        });
        let free = match free {
            Some(free) => free,
            None if contents.len() < MAX_RECEIPT_EDUS => {
                contents.push(BTreeMap::new());
                contents.len() - 1
            }
            // A user with many threads: the rest goes with the next transaction.
            None => return (finish(contents), last.unwrap_or(newest)),
        };
        let map = match contents[free].entry(room_id) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(ReceiptMap::new(BTreeMap::new())),
        };
        map.read.insert(receipt.user_id, data);
        last = Some(seq);
    }
    let reach = last.filter(|_| cut).unwrap_or(newest);
    (finish(contents), reach)
}

fn finish(contents: Vec<BTreeMap<OwnedRoomId, ReceiptMap>>) -> Vec<Edu> {
    contents
        .into_iter()
        .map(|rooms| Edu::Receipt(ReceiptContent::new(rooms)))
        .collect()
}

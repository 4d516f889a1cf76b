//! The one place that speaks SQL.
//!
//! A [`Store`] owns a single SQLite database: one writer thread that commits commands in groups, and a pool of reader
//! threads that each see a consistent snapshot. Table families add their functions to [`ReadTx`] and [`WriteTx`], one
//! file per family; everything above this crate passes a closure:
//!
//! ```text
//! let user = store.write(move |tx| tx.user_nid_or_insert(&user_id)).await?;
//! ```
//!
//! The reply to a write leaves only after its transaction is on disk.

mod accounts;
mod application_services;
mod attention;
mod audit;
mod backoff;
mod checkpoint;
mod clock;
mod connection;
mod cross_signing;
mod destinations;
mod device_keys;
mod device_list_updates;
mod device_lists;
mod error;
mod execution;
mod fallback_keys;
mod highlights;
mod hub;
mod inventory;
mod key_backup;
mod key_signatures;
mod local_names;
mod media;
mod migrations;
mod moderation;
mod names;
mod nid;
mod one_time_keys;
mod pdu;
mod presence;
mod push_rules;
mod pushers;
mod read_positions;
mod readers;
mod receipts;
mod received_transactions;
mod recent_rooms;
mod relations;
mod remote_devices;
mod reports;
mod rooms;
mod search_words;
mod server_keys;
mod store;
mod sync_queries;
mod thread_subscriptions;
mod to_device;
mod tx;
mod unread;
mod url_previews;
mod vouchers;
mod waiting_pdus;
mod way_back;
mod writer;

pub use self::{
    accounts::{
        Account, AccountData, Device, DirectoryUser, EmailAddress, InvitePermission, NewTokenPair,
        PairNid, RegistrationToken, RoomAccountData, TokenSession,
    },
    application_services::{LoggedEvent, ServiceProgress},
    audit::AuditEntry,
    backoff::Backoff,
    clock::{Clock, ManualClock, SystemClock},
    cross_signing::{CrossSigningKeys, CrossSigningUsage, StoredCrossSigningKey},
    destinations::{Cursors, Destination},
    device_keys::with_device_name,
    device_list_updates::DeviceListUpdates,
    device_lists::DeviceListChanges,
    error::{Error, Result},
    execution::{Disk, Execution},
    hub::{Announcement, Listener, Topic},
    inventory::{AccountFilter, ListedRoom, RoomOrder},
    key_backup::{BackedUpSession, KeyBackup, SessionChange, SessionFilter, SessionQuality},
    key_signatures::{KeySignature, with_signatures},
    media::{
        ContentHash, KeptMedia, MediaRow, PendingMedia, QuarantinedContent, ThumbnailKey,
        UploadedMedia,
    },
    nid::{ChainNid, EventNid, Position, RoomNid, ServerNid, StateKeyNid, UserNid},
    one_time_keys::OneTimeKeyUpload,
    pdu::Pdu,
    presence::PresenceAudience,
    push_rules::{PUSH_RULES, PushRoom, default_push_rules, push_rules_content},
    pushers::{NewPusher, PushCandidate, Pusher, PusherNid},
    read_positions::{ReadState, ThreadEvent},
    receipts::{OutgoingReceipt, Receipt},
    relations::{Relation, RelationCount},
    remote_devices::{RemoteDeviceList, RemoteDevices},
    reports::{Report, Reported},
    rooms::{
        AUTH_CHAIN_LIMIT, Coordinate, CurrentEntry, DelayEnd, DelayOutcome, DelayedEvent, Event,
        EventStatus, Inserted, Member, NewDelayedEvent, NewEvent, NewPartialRoom, PartialRoom,
        PartialRooms, Redaction, Rejudged, Replayed, Room, SearchBacklog, SearchEntry, SearchHit,
        StateChange, StateEntry, TimedEvent, Tip, Visibility,
    },
    search_words::{search_words, word_sequence},
    server_keys::{ServerKey, ServerKeyDocument},
    store::{Config, Store},
    sync_queries::{ClientRow, LoggedChange, StateSelection, Stretch, UserRoom},
    thread_subscriptions::ThreadSubscription,
    to_device::{ToDeviceBatch, ToDeviceOutbox},
    tx::{ReadTx, WriteTx},
    unread::{CountUnread, DefaultRules, Unread, UnreadCount},
    url_previews::UrlPreview,
    vouchers::VoucherUse,
    waiting_pdus::WaitingPdu,
    way_back::give_up_way_back,
};

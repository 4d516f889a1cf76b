-- What the national directory answered to vouchers. A box that asks again with the same key gets the same answer, which
-- counts once.
CREATE TABLE voucher_uses (
    voucher     TEXT NOT NULL,
    server_name TEXT NOT NULL,
    -- The fingerprint of the box's TLS key.
    tls_key     TEXT NOT NULL,
    -- The answer, a JSON document.
    answer      TEXT NOT NULL,
    used_ts     INTEGER NOT NULL,
    -- When the voucher ends, after which the row serves no purpose.
    expires_ts  INTEGER NOT NULL,
    PRIMARY KEY (voucher, server_name, tls_key)
) STRICT, WITHOUT ROWID;

CREATE INDEX voucher_uses_by_expiry ON voucher_uses (expires_ts);

-- What users say of themselves beside their presence. The presence itself is not kept: after a restart nobody is there.

CREATE TABLE presence_status (
    user_nid   INTEGER NOT NULL PRIMARY KEY REFERENCES users,
    status_msg TEXT NOT NULL
) STRICT;

DROP TABLE deletion_notices;

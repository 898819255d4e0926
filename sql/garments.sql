-- The garment of each labelled product. This table is our addition; training on a catalogue needs it.
CREATE TABLE ProductGarment (
    ProductId bigint PRIMARY KEY REFERENCES Product (Id),
    Garment   text NOT NULL
);

-- Which garment each product is, where somebody has said so: an addition of ours, which training on a catalogue needs.
CREATE TABLE ProductGarment (
    ProductId bigint PRIMARY KEY REFERENCES Product (Id),
    Garment   text NOT NULL
);

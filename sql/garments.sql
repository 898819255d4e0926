-- What the case's tables do not know, and training needs: which garment a product is. The table is ours and optional; products
-- without a row here are not trained on. A garment is one of the taxonomy's names, such as 'Ankle boot'.

CREATE TABLE ProductGarment (
    ProductId bigint PRIMARY KEY REFERENCES Product (Id),
    Garment   text NOT NULL
);

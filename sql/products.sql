-- Every product once, by id: its title, the URL of its image at index 0, and its US text.
-- The programs of this repository replace 0 and 'us' by parameters.
SELECT Product.Id        AS id,
       Product.Title     AS title,
       first_image.Url   AS url,
       best_text.Content AS description
FROM Product
LEFT JOIN LATERAL (
    SELECT Image.Url
    FROM ProductImages
    JOIN Image ON Image.Id = ProductImages.ImageId
    WHERE ProductImages.ProductId = Product.Id
      AND ProductImages.ImageIndex = 0
    ORDER BY ProductImages.ImageId
    LIMIT 1
) AS first_image ON true
LEFT JOIN LATERAL (
    SELECT candidate.Content
    FROM ProductDescription
    CROSS JOIN LATERAL (VALUES (1, TranslatedText), (2, OriginalText)) AS candidate (Rank, Content)
    WHERE ProductDescription.ProductId = Product.Id
      AND ProductDescription.CountryCode = 'us'
      -- A text counts when it has a character other than white space and zero-width characters.
      AND candidate.Content ~
          '[^\t-\r\u001C-\u0020\u0085\u00A0\u1680\u2000-\u200B\u2028\u2029\u202F\u205F\u2060\u3000\uFEFF]'
    ORDER BY candidate.Rank, ProductDescription.Id
    LIMIT 1
) AS best_text ON true
ORDER BY Product.Id;

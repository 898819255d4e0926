-- Every product with its image at index 0 and its US text. For data without duplicates; sql/products.sql handles them.
SELECT Product.Title AS title,
       Image.Url     AS url,
       COALESCE(ProductDescription.TranslatedText, ProductDescription.OriginalText) AS description
FROM Product
LEFT JOIN ProductImages
       ON ProductImages.ProductId = Product.Id AND ProductImages.ImageIndex = 0
LEFT JOIN Image
       ON Image.Id = ProductImages.ImageId
LEFT JOIN ProductDescription
       ON ProductDescription.ProductId = Product.Id AND ProductDescription.CountryCode = 'us'
ORDER BY Product.Id;

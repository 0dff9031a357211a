"""English names of countries: the members and observers of the United Nations, Kosovo and Taiwan."""

from __future__ import annotations

_NAMES = """
Afghanistan; Albania; Algeria; Andorra; Angola; Antigua and Barbuda; Argentina; Armenia; Australia; Austria; Azerbaijan;
Bahamas; Bahrain; Bangladesh; Barbados; Belarus; Belgium; Belize; Benin; Bhutan; Bolivia; Bosnia and Herzegovina|Bosnia;
Botswana; Brazil; Brunei; Bulgaria; Burkina Faso; Burundi; Cambodia; Cameroon; Canada; Cape Verde|Cabo Verde;
Central African Republic; Chad; Chile; China; Colombia; Comoros;
Democratic Republic of the Congo|Democratic Republic of Congo|DR Congo|DRC; Republic of the Congo|Congo; Costa Rica;
Croatia; Cuba; Cyprus; Czech Republic|Czechia; Denmark; Djibouti; Dominica; Dominican Republic;
East Timor|Timor-Leste; Ecuador; Egypt; El Salvador; Equatorial Guinea; Eritrea; Estonia; Eswatini|Swaziland; Ethiopia;
Fiji; Finland; France; Gabon; Gambia; Georgia; Germany; Ghana; Greece; Grenada; Guatemala; Guinea; Guinea-Bissau;
Guyana; Haiti; Honduras; Hungary; Iceland; India; Indonesia; Iran; Iraq; Ireland; Israel; Italy;
Ivory Coast|Côte d'Ivoire|Côte d’Ivoire|Cote d'Ivoire; Jamaica; Japan; Jordan; Kazakhstan; Kenya; Kiribati; Kosovo;
Kuwait; Kyrgyzstan; Laos; Latvia; Lebanon; Lesotho; Liberia; Libya; Liechtenstein; Lithuania; Luxembourg; Madagascar;
Malawi; Malaysia; Maldives; Mali; Malta; Marshall Islands; Mauritania; Mauritius; Mexico; Micronesia; Moldova; Monaco;
Mongolia; Montenegro; Morocco; Mozambique; Myanmar|Burma; Namibia; Nauru; Nepal; Netherlands|Holland; New Zealand;
Nicaragua; Niger; Nigeria; North Korea; North Macedonia|Macedonia; Norway; Oman; Pakistan; Palau; Palestine; Panama;
Papua New Guinea; Paraguay; Peru; Philippines; Poland; Portugal; Qatar; Romania; Russia|Russian Federation; Rwanda;
Saint Kitts and Nevis|St. Kitts and Nevis; Saint Lucia|St. Lucia;
Saint Vincent and the Grenadines|St. Vincent and the Grenadines; Samoa; San Marino;
São Tomé and Príncipe|Sao Tome and Principe; Saudi Arabia; Senegal; Serbia; Seychelles; Sierra Leone; Singapore;
Slovakia; Slovenia; Solomon Islands; Somalia; South Africa; South Korea; South Sudan; Spain; Sri Lanka; Sudan; Suriname;
Sweden; Switzerland; Syria; Taiwan; Tajikistan; Tanzania; Thailand; Togo; Tonga; Trinidad and Tobago; Tunisia;
Turkey|Türkiye; Turkmenistan; Tuvalu; Uganda; Ukraine; United Arab Emirates|UAE;
United Kingdom|Great Britain|Britain|UK|U.K.; United States of America|United States|America|USA|U.S.A.|US|U.S.;
Uruguay; Uzbekistan; Vanuatu; Vatican City|Vatican|Holy See; Venezuela; Vietnam|Viet Nam; Yemen; Zambia; Zimbabwe
"""

COUNTRIES = {
    name: names[0]
    for names in ([name.strip() for name in entry.split("|")] for entry in " ".join(_NAMES.split()).split(";"))
    for name in names
}
"""Name as written to the country's first name."""
